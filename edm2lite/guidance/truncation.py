"""Truncation by score scaling: fewer outliers, less diversity (compared with autoguidance in 2024b, Figure 1)."""

from torch import Tensor

from edm2lite.guidance.wrapper import Denoise, Wrapper


class Truncated(Wrapper):
    """The denoiser whose score is `factor` times that of `inner`: x + factor (D - x)."""

    def __init__(self, inner: Denoise, factor: float):
        super().__init__(inner)
        self.factor = factor

    def __call__(self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None) -> Tensor:
        return x + self.factor * (self.inner(x, sigma, labels) - x)


def truncated(denoise: Denoise, factor: float) -> Denoise:
    """Multiply a denoiser's score (D - x) / sigma^2 by a factor; above 1 samples gather at the modes, 1: unchanged."""
    return denoise if factor == 1 else Truncated(denoise, factor)
