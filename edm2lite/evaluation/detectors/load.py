"""Detectors by name."""

import torch

from edm2lite.config.metrics import DETECTORS
from edm2lite.data.datasets import DATASETS
from edm2lite.errors import UserError, unknown_name
from edm2lite.evaluation.detectors import dinov2, inception
from edm2lite.evaluation.detectors.custom import load_custom
from edm2lite.evaluation.detectors.detector import Detector
from edm2lite.evaluation.detectors.small import load_classifier
from edm2lite.evaluation.detectors.weights import load_published


def load_detector(name: str, weights: str | None = None, device: torch.device | str = "cpu") -> Detector:
    """A detector, ready to be applied.

    Args:
        name: inception, dinov2, the name of a bundled dataset (its classifier, trained at the first call), or MODULE:FACTORY.
        weights: Local file of the weights of inception or dinov2; None: see `weights.find_weights`.
        device: Where it computes.

    Raises:
        UserError: If there is no such detector, or its weights cannot be had.
    """
    return _make(name, weights).to(device).eval().requires_grad_(False)


def _make(name: str, weights: str | None) -> Detector:
    if name == "inception":
        return load_published(inception.Inception, inception.WEIGHTS, weights)
    if name == "dinov2":
        return load_published(dinov2.DINOv2, dinov2.WEIGHTS, weights)
    if weights is not None:
        raise UserError(f"detector_files names {weights} for {name}, which has no published weights; leave it out")
    if name in DATASETS:
        return load_classifier(name)
    if ":" in name:
        return load_custom(name)
    raise unknown_name("detector", name, [*DETECTORS, "MODULE:FACTORY"])


def check_shape(detector: Detector, what: str, shape: tuple[int, ...]) -> None:
    """Raise a UserError unless a detector takes images of a shape.

    Args:
        detector: The detector.
        what: Where the images are from, for the error.
        shape: (C, H, W).
    """
    if detector.image_shape is not None and tuple(shape) != detector.image_shape:
        raise UserError(
            f"{what} has shape {list(shape)} (channels, height, width); {detector.title} takes only "
            f"{list(detector.image_shape)}: use images like those, or another detector"
        )
    if detector.image_shape is None and (len(shape) != 3 or shape[0] not in (1, 3) or 0 in shape):
        raise UserError(
            f"{what} has shape {list(shape)} (channels, height, width); {detector.title} takes RGB (3) or grey (1) images"
        )
