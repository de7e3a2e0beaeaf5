"""Ways to make a denoiser worse while it is used (2024b, Section 4): no labels, dropout, input noise, sigma scaling.

They compose in this order, from the outside in: input noise, sigma scaling, then the network without labels and with dropout.
Randomness is handed in as functions, so that it can belong to the sample.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from edm2lite.guidance.wrapper import Denoise, Wrapper


class Unconditional(Wrapper):
    """The denoiser under the null label."""

    def __call__(self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None) -> Tensor:
        return self.inner(x, sigma, None)


class WithDropout(Wrapper):
    """The denoiser with dropout.

    Args:
        inner: A denoiser that takes `dropout=(p, keys)`, such as `edm2lite.network.denoiser.Denoiser`.
        p: Dropout probability.
        keys: Makes the keys of the masks, int64 [B], on any device; called anew in every evaluation.
    """

    def __init__(self, inner: Denoise, p: float, keys: Callable[[], Tensor]):
        super().__init__(inner)
        self.p, self.keys = p, keys

    def __call__(self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None) -> Tensor:
        return self.inner(x, sigma, labels, dropout=(self.p, self.keys().to(x.device)))


class WithInputNoise(Wrapper):
    """D(x + sqrt((1+p)^2 - 1) sigma n; (1+p) sigma): the network sees a higher noise level, and x with the noise for it.

    Args:
        inner: Denoiser.
        p: By how much the noise level is raised; 0.1 for 10 %.
        randn_like: Source of n.
    """

    def __init__(self, inner: Denoise, p: float, randn_like: Callable[[Tensor], Tensor]):
        super().__init__(inner)
        self.p, self.randn_like = p, randn_like

    def __call__(self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None) -> Tensor:
        sigma = torch.as_tensor(sigma)
        missing = (((1 + self.p) ** 2 - 1) ** 0.5 * sigma).to(x)
        return self.inner(x + missing.reshape(-1, 1, 1, 1) * self.randn_like(x), (1 + self.p) * sigma, labels)


class SigmaScaled(Wrapper):
    """x as it is, taken for noisier (k > 1) than it is.

    Args:
        inner: Denoiser.
        k: Factor on the noise level.
        of: What is taken from there. "denoised": D(x; k sigma). "score": (D(x; k sigma) - x) / (k sigma)^2, which to the noise
            level sigma is the denoised image x + (D(x; k sigma) - x) / k^2.
    """

    def __init__(self, inner: Denoise, k: float, of: str = "denoised"):
        super().__init__(inner)
        self.k, self.of = k, of

    def __call__(self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None) -> Tensor:
        denoised = self.inner(x, self.k * sigma, labels)
        return denoised if self.of == "denoised" else x + (denoised - x) / self.k**2
