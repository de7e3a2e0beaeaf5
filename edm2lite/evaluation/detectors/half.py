"""A detector in half precision: faster on tensor cores, another detector to whoever keeps or compares its features."""

import copy
from typing import TypeVar

import torch
from torch import nn

from edm2lite.errors import UserError
from edm2lite.evaluation.detectors.custom import Custom
from edm2lite.evaluation.detectors.detector import Detector
from edm2lite.network.precision import DTYPES

D = TypeVar("D", bound=Detector)


def halved(detector: D, precision: str) -> D:
    """A copy whose layers hold weights and activations in half precision; images are resized, and features come, in float32.

    Batch normalisation keeps its float32 numbers, with which torch normalises half precision, too; so do layers `in_fp32`.

    Args:
        detector: Any but a module of somebody else's, which computes as it is written.
        precision: bf16 or fp16.

    Raises:
        UserError: If it is such a module.
    """
    if isinstance(detector, Custom):
        raise UserError(
            f"detector_precision is {precision}, but {detector.name} computes as it is written; leave detector_precision out"
        )
    half = copy.deepcopy(detector)
    half.precision = precision
    for name, layer in half.named_children():
        if name not in half.in_fp32:
            _cast(layer, DTYPES[precision])
    return half


def _cast(layer: nn.Module, dtype: torch.dtype) -> None:
    for module in layer.modules():
        if not isinstance(module, nn.BatchNorm2d):
            for weight in module.parameters(recurse=False):
                layout = torch.channels_last if weight.ndim == 4 else torch.preserve_format
                weight.data = weight.data.to(dtype, memory_format=layout)
