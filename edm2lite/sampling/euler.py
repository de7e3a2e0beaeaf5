"""Euler's solver of the probability-flow ODE, which is DDIM (Song et al. 2020, arXiv 2010.02502) and DPM-Solver++(1)."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from edm2lite.sampling.noise_levels import choose_levels
from edm2lite.sampling.steps import bind, make_churn


@torch.no_grad()
def sample_euler(
    denoise: Callable[..., Tensor], noise: Tensor, *, labels: Tensor | None = None,
    num_steps: int = 32, sigma_min: float = 0.002, sigma_max: float = 80, rho: float = 7,
    sigmas: Sequence[float] | Tensor | None = None,
    S_churn: float = 0, S_min: float = 0, S_max: float = math.inf, S_noise: float = 1,
    dtype: torch.dtype = torch.float32, randn_like: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:  # fmt: skip
    """Solve the probability-flow ODE by Euler's method; with S_churn > 0, with fresh noise in every step.

    First order; num_steps evaluations of `denoise`. A step takes dx/dsigma = (x - D(x; sigma)) / sigma for constant,
    x + (sigma' - sigma) dx/dsigma, written here as D + (sigma'/sigma) (x - D).

    Arguments, result and errors are those of `sample_heun`.
    """
    levels = choose_levels(sigmas, num_steps, sigma_min, sigma_max, rho).tolist()
    churn = make_churn(len(levels) - 1, S_churn, S_min, S_max, S_noise, randn_like)
    D = bind(denoise, labels, dtype)
    x = noise.to(dtype) * levels[0]
    for level, sigma_next in pairwise(levels):
        x, sigma = churn(x, level)
        x = D(x, sigma).lerp(x, sigma_next / sigma)
    return x
