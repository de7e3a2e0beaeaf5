"""UniPC (Zhao et al. 2023, arXiv 2302.04867): a multistep predictor and a corrector that costs no evaluation."""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from edm2lite.sampling.multistep import integrals, weighted_sum
from edm2lite.sampling.noise_levels import choose_levels
from edm2lite.sampling.steps import bind

_ORDER = 3  # of the predictor; the corrector has one more


@torch.no_grad()
def sample_unipc(
    denoise: Callable[..., Tensor], noise: Tensor, *, labels: Tensor | None = None,
    num_steps: int = 32, sigma_min: float = 0.002, sigma_max: float = 80, rho: float = 7,
    sigmas: Sequence[float] | Tensor | None = None, dtype: torch.dtype = torch.float32,
) -> Tensor:  # fmt: skip
    """Solve the probability-flow ODE by UniPC-3 in data prediction (Zhao et al. 2023).

    The predictor makes a step with the polynomial in ln sigma through the last three D; the corrector makes it again with the D
    found at its end, too, and the next step starts from its x, where D is not evaluated again. The paper's B(h) cancels: its
    coefficients are those that integrate a polynomial through as many D exactly (with two D it takes 1/2 instead, which
    matters in the first two steps alone). Fourth order but for the first two steps; num_steps evaluations of `denoise`; the
    step to 0 returns the denoised.

    Arguments, result and errors are those of `sample_heun`; it is deterministic.
    """
    levels = choose_levels(sigmas, num_steps, sigma_min, sigma_max, rho).tolist()
    D = bind(denoise, labels, dtype)
    x = noise.to(dtype) * levels[0]
    history: deque[tuple[float, Tensor]] = deque(maxlen=_ORDER + 1)  # noise level, denoised
    start: tuple[float, Tensor] | None = None  # noise level and corrected x of the step before
    for sigma, sigma_next in pairwise(levels):
        denoised = D(x, sigma)
        if sigma_next == 0:
            return denoised
        history.append((sigma, denoised))
        if start is not None:
            x = _step(*start, sigma, list(history))
        start = sigma, x
        x = _step(sigma, x, sigma_next, list(history)[-_ORDER:])
    return x


def _step(sigma: float, x: Tensor, sigma_next: float, known: Sequence[tuple[float, Tensor]]) -> Tensor:
    """From x at sigma to sigma', D being the polynomial in ln sigma through the known ones.

    x / sigma changes by the integral of -D / sigma^2 dsigma, as dx/dsigma = (x - D) / sigma.
    """
    at, values = zip(*known, strict=True)
    weights = integrals(at, sigma, sigma_next, lambda s: -sigma_next / s**2)
    return x * (sigma_next / sigma) + weighted_sum(weights, values)
