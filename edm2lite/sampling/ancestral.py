"""The ancestral sampler of "Classifier-Free Diffusion Guidance" (Ho and Salimans 2022, arXiv 2207.12598) in EDM's variables."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from edm2lite.config.units import check_range
from edm2lite.sampling.noise_levels import choose_levels
from edm2lite.sampling.steps import bind


@torch.no_grad()
def sample_ancestral(
    denoise: Callable[..., Tensor], noise: Tensor, *, labels: Tensor | None = None,
    num_steps: int = 32, sigma_min: float = 0.002, sigma_max: float = 80, rho: float = 7,
    sigmas: Sequence[float] | Tensor | None = None, v: float = 0.3,
    dtype: torch.dtype = torch.float32, randn_like: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:  # fmt: skip
    """Walk down the noise levels, drawing each from q(z_s | z_t, x) with x = D(z_t) (2022, Section 3 and Algorithm 2).

    There lambda = ln(alpha^2 / sigma^2); with alpha = 1 it is -2 ln sigma, and e^(lambda_t - lambda_s) is
    q = (sigma_s / sigma_t)^2 for a step from sigma_t down to sigma_s. From z_s = x + N(0, sigma_s^2) and
    z_t = z_s + N(0, sigma_t^2 - sigma_s^2) follow, for z_s given z_t and x:

        mean                            x + q (z_t - x)
        lower bound of the variance     (1 - q) sigma_s^2     (the posterior's: right if x is known exactly)
        upper bound                     (1 - q) sigma_t^2     (that of z_t given z_s)

    The variance taken is lower^(1 - v) upper^v. The step to 0 returns x. First order in distribution; num_steps evaluations
    of `denoise`.

    Args:
        v: In [0, 1].
        randn_like: Source of fresh noise; default: torch.randn_like.

    The other arguments and the result are those of `sample_heun`.

    Raises:
        UserError: If v is outside [0, 1] or the noise levels are impossible.
    """
    check_range("v", 0 <= v <= 1, v, "in [0, 1]")
    levels = choose_levels(sigmas, num_steps, sigma_min, sigma_max, rho).tolist()
    draw = randn_like or torch.randn_like
    D = bind(denoise, labels, dtype)
    x = noise.to(dtype) * levels[0]
    for sigma, sigma_next in pairwise(levels):
        q = (sigma_next / sigma) ** 2
        x = D(x, sigma).lerp(x, q)
        if sigma_next > 0:
            x = x + math.sqrt(1 - q) * sigma_next ** (1 - v) * sigma**v * draw(x)
    return x
