"""A function for gradient guidance: how sure a noise-conditional classifier is of the class of the denoised image.

Universal guidance (Bansal et al. 2023, arXiv 2302.07121) with our own classifier; in a YAML:
`gradient: {function: "edm2lite.sampling.classified:class_score", arguments: {path: runs/demo/digits-classifier}, scale: 1}`.
"""

import math
from typing import Any

import torch
from torch import Tensor

from edm2lite.config import ModelRef, Nimg, check_range
from edm2lite.errors import UserError
from edm2lite.snapshots.classifiers import LoadedClassifier, load_classifier


def class_score(
    path: str, nimg: str | int | None = None, ema: float | None = None, sigma: float = 0.1, *,
    to_pixels: Any = None, device: torch.device | str = "cpu",
) -> "ClassScore":  # fmt: skip
    """The function (denoised, sigma, labels) -> log p(label | denoised), [B].

    Args:
        path, nimg, ema: A classifier; see `load_classifier`.
        sigma: Noise level for which the classifier takes the denoised image; a low one.
        to_pixels: Not used: the classifier sees encoded images.
        device: Where to compute.

    Raises:
        UserError: If there is no such classifier; from the function, if it was trained on other images, or there are no labels.
    """
    ref = ModelRef(path=path, nimg=None if nimg is None else Nimg(nimg), ema=ema)
    check_range("sigma of class_score", 0 < float(sigma) < math.inf, sigma, "positive")
    return ClassScore(load_classifier(ref, device), float(sigma))


class ClassScore:
    """See `class_score`."""

    def __init__(self, loaded: LoadedClassifier, sigma: float):
        self.module, self.sigma, self.path = loaded.classifier, sigma, loaded.path

    def __call__(self, denoised: Tensor, sigma: Any, labels: Tensor | None) -> Tensor:
        if labels is None:
            raise UserError(
                f"class_score by {self.path} needs labels, but the main model has no classes; use another main"
            )
        shape = [self.module.img_channels, self.module.img_resolution, self.module.img_resolution]
        if list(denoised.shape[1:]) != shape:
            raise UserError(
                f"the classifier {self.path} sees images of shape {shape}, the main model makes {list(denoised.shape[1:])}; "
                "both must be trained on the same data"
            )
        return self.module(denoised, self.sigma).log_softmax(dim=1).gather(1, labels[:, None])[:, 0]
