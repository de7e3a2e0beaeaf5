"""DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095) in EDM's variables: alpha = 1, lambda = -ln sigma, data prediction.

With D held constant the ODE is solved exactly by x' = D + (sigma'/sigma) (x - D), the first-order solver. The second-order
solvers replace D by its value, to first order, in the middle of the step in lambda: 2M extrapolates it from the step before, 2S
evaluates it. The step to sigma = 0 is infinitely long in lambda; it returns the denoised.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from edm2lite.sampling.noise_levels import choose_levels
from edm2lite.sampling.steps import bind


@torch.no_grad()
def sample_dpmpp_2m(
    denoise: Callable[..., Tensor], noise: Tensor, *, labels: Tensor | None = None,
    num_steps: int = 32, sigma_min: float = 0.002, sigma_max: float = 80, rho: float = 7,
    sigmas: Sequence[float] | Tensor | None = None, dtype: torch.dtype = torch.float32,
) -> Tensor:  # fmt: skip
    """Solve the probability-flow ODE by DPM-Solver++(2M) (Lu et al. 2022, Algorithm 2), a multistep method.

    Second order (the first step and the last are of first order); num_steps evaluations of `denoise`.

    Arguments, result and errors are those of `sample_heun`; it is deterministic.
    """
    levels = choose_levels(sigmas, num_steps, sigma_min, sigma_max, rho).tolist()
    D = bind(denoise, labels, dtype)
    x = noise.to(dtype) * levels[0]
    before: tuple[float, Tensor] | None = None  # noise level and denoised of the step before
    for sigma, sigma_next in pairwise(levels):
        denoised = middle = D(x, sigma)
        if before is not None and sigma_next > 0:
            r = math.log(before[0] / sigma) / math.log(sigma / sigma_next)
            middle = denoised + (denoised - before[1]) / (2 * r)
        x = middle.lerp(x, sigma_next / sigma)
        before = sigma, denoised
    return x


@torch.no_grad()
def sample_dpmpp_2s(
    denoise: Callable[..., Tensor], noise: Tensor, *, labels: Tensor | None = None,
    num_steps: int = 32, sigma_min: float = 0.002, sigma_max: float = 80, rho: float = 7,
    sigmas: Sequence[float] | Tensor | None = None, dtype: torch.dtype = torch.float32,
) -> Tensor:  # fmt: skip
    """Solve the probability-flow ODE by DPM-Solver++(2S) (Lu et al. 2022, Algorithm 1, r = 1/2), a single-step method.

    Second order; 2 num_steps - 1 evaluations of `denoise`: at every level, and between two levels at their geometric mean.

    Arguments, result and errors are those of `sample_heun`; it is deterministic.
    """
    levels = choose_levels(sigmas, num_steps, sigma_min, sigma_max, rho).tolist()
    D = bind(denoise, labels, dtype)
    x = noise.to(dtype) * levels[0]
    for sigma, sigma_next in pairwise(levels):
        denoised = D(x, sigma)
        if sigma_next > 0:
            sigma_middle = math.sqrt(sigma * sigma_next)
            denoised = D(denoised.lerp(x, sigma_middle / sigma), sigma_middle)
        x = denoised.lerp(x, sigma_next / sigma)
    return x
