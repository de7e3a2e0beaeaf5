"""Guidance by a second denoiser (Karras et al. 2024b, arXiv 2406.02507, Eq. 3): CFG and autoguidance alike."""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from edm2lite.errors import UserError

Denoise = Callable[..., Tensor]  # denoise(x, sigma, labels=None) -> denoised; see Denoiser.forward


class Guided:
    """The denoiser D_guide + w (D_main - D_guide); its attributes (img_resolution, ...) are those of the main.

    Args:
        main, guide: Denoisers on the same images. The guide gets the labels if it has classes.
        weight: w; above 1 extrapolates away from the guide.
    """

    def __init__(self, main: Denoise, guide: Denoise, weight: float):
        self.main, self.guide, self.weight = main, guide, weight

    def __call__(self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None) -> Tensor:
        reference = self.guide(x, sigma, labels)
        return reference + self.weight * (self.main(x, sigma, labels) - reference)

    def __getattr__(self, name: str) -> Any:
        if name in ("main", "guide", "weight"):  # not there yet, while unpickling or copying
            raise AttributeError(name)
        return getattr(self.main, name)


def guided(main: Denoise, guide: Denoise | None, weight: float) -> Denoise:
    """The denoiser D_guide + weight * (D_main - D_guide) (2024b, Eq. 3).

    Args:
        main: Denoiser whose quality is wanted.
        guide: A worse version of it (autoguidance), or one without labels (classifier-free guidance).
        weight: 1: the main denoiser itself, and the guide is never run.

    Raises:
        UserError: If the weight is not 1 and there is no guide, or the two work on different images.
    """
    if weight == 1:
        return main
    if not math.isfinite(weight):
        raise UserError(f"guidance weight is {weight}; it must be a finite number")
    if guide is None:
        raise UserError(
            f"guidance weight is {weight} but there is no guide; name one (--guide.path) or set the weight to 1"
        )
    for name in ("img_resolution", "img_channels", "sigma_data"):
        a, b = getattr(main, name, None), getattr(guide, name, None)
        if a is not None and b is not None and a != b:
            raise UserError(f"main and guide differ in {name}: {a} and {b}; a guide must be trained on the same data")
    classes = [getattr(model, "label_dim", 0) for model in (main, guide)]
    if all(classes) and classes[0] != classes[1]:
        raise UserError(
            f"main and guide have {classes[0]} and {classes[1]} classes; they must have the same, or the guide none"
        )
    return Guided(main, guide, weight)
