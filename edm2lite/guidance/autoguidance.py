"""Guidance by other denoisers (Karras et al. 2024b, arXiv 2406.02507, Eq. 3 and 6): CFG, autoguidance, and blends of them."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from edm2lite.errors import UserError
from edm2lite.guidance.weights import Weight
from edm2lite.guidance.wrapper import Denoise, Wrapper


class Guided(Wrapper):
    """The denoiser D_main + sum_i (w_i - 1) (D_main - D_i) (2024b, Eq. 6); a guide is not run where its weight is 1.

    Its attributes (img_resolution, ...) are those of the main.

    Args:
        main: Denoiser whose quality is wanted.
        guides: Denoisers D_i on the same images, each with its weight w_i: a number, or a function of the noise level.
            The guide gets the labels, too.
    """

    def __init__(self, main: Denoise, guides: Sequence[tuple[Denoise, float | Weight]]):
        super().__init__(main)
        self.guides = list(guides)

    def __call__(self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None) -> Tensor:
        denoised = main = self.inner(x, sigma, labels)
        for guide, weight in self.guides:
            extra = weight_at(weight, sigma) - 1
            if isinstance(extra, Tensor) or extra != 0:
                denoised = denoised + extra * (main - guide(x, sigma, labels))
        return denoised


def weight_at(weight: float | Weight, sigma: Tensor | float) -> float | Tensor:
    """The weight at a noise level; for noise levels [B] of several values, weights [B, 1, 1, 1]."""
    if not callable(weight):
        return weight
    levels = torch.as_tensor(sigma, dtype=torch.float64).reshape(-1)
    weights = [weight(level) for level in levels.tolist()]
    if len(set(weights)) == 1:
        return weights[0]
    device = sigma.device if isinstance(sigma, Tensor) else None
    return torch.tensor(weights, dtype=torch.float32, device=device).reshape(-1, 1, 1, 1)


def guided(main: Denoise, guide: Denoise | None, weight: float | Weight) -> Denoise:
    """The denoiser D_guide + weight * (D_main - D_guide) (2024b, Eq. 3).

    Args:
        main: Denoiser whose quality is wanted.
        guide: A worse version of it (autoguidance), or one without labels (classifier-free guidance).
        weight: w, a number or a function of the noise level; 1: the main denoiser itself, and the guide is never run.

    Raises:
        UserError: If the weight is not 1 and there is no guide, or the two work on different images.
    """
    if weight == 1:
        return main
    if not callable(weight) and not math.isfinite(weight):
        raise UserError(f"guidance weight is {weight}; it must be a finite number")
    if guide is None:
        raise UserError(
            f"guidance weight is {weight} but there is no guide; name one (--guide.path) or set the weight to 1"
        )
    check_together(main, guide)
    return Guided(main, [(guide, weight)])


def check_together(main: Denoise, guide: Denoise, what: str = "guide", of: str = "main") -> None:
    """Raise a UserError unless the two see images of the same shape, scale and classes (or one of them has no classes).

    Args:
        main: Main model.
        guide: Guide, or another network that goes with it.
        what, of: How messages call guide and main.
    """
    for name in ("img_resolution", "img_channels", "sigma_data"):
        a, b = getattr(main, name, None), getattr(guide, name, None)
        if a is not None and b is not None and a != b:
            raise UserError(f"{of} and {what} differ in {name}: {a} and {b}; a {what} must be trained on the same data")
    classes = [getattr(model, "label_dim", 0) for model in (main, guide)]
    if all(classes) and classes[0] != classes[1]:
        raise UserError(
            f"{of} and {what} have {classes[0]} and {classes[1]} classes; they must have the same, or one of them none"
        )
