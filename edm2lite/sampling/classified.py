"""A function for gradient guidance: how sure a noise-conditional classifier is of the class of the denoised image.

Universal guidance (Bansal et al. 2023, arXiv 2302.07121) with our own classifier; in a YAML:
`gradient: {function: "edm2lite.sampling.classified:class_score", arguments: {path: runs/demo/digits-classifier}, scale: 1}`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from edm2lite.config import ModelRef, Nimg
from edm2lite.snapshots.classifiers import load_classifier


def class_score(
    path: str, nimg: str | int | None = None, ema: float | None = None, sigma: float = 0.1, *,
    to_pixels: Any = None, device: torch.device | str = "cpu",
) -> Callable[[Tensor, Any, Tensor], Tensor]:  # fmt: skip
    """The function (denoised, sigma, labels) -> log p(label | denoised), [B].

    Args:
        path, nimg, ema: A classifier; see `load_classifier`.
        sigma: Noise level for which the classifier takes the denoised image; a low one.
        to_pixels: Not used: the classifier sees encoded images.
        device: Where to compute.
    """
    ref = ModelRef(path=path, nimg=None if nimg is None else Nimg(nimg), ema=ema)
    classifier = load_classifier(ref, device).classifier

    def score(denoised: Tensor, _: Any, labels: Tensor) -> Tensor:
        return classifier(denoised, sigma).log_softmax(dim=1).gather(1, labels[:, None])[:, 0]

    return score
