"""EDM's Heun solver (Karras et al. 2022, arXiv 2206.00364, Algorithms 1 and 2)."""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from edm2lite.sampling.noise_levels import karras_sigmas


@torch.no_grad()
def sample_heun(
    denoise: Callable[..., Tensor], noise: Tensor, *, labels: Tensor | None = None,
    num_steps: int = 32, sigma_min: float = 0.002, sigma_max: float = 80, rho: float = 7,
    S_churn: float = 0, S_min: float = 0, S_max: float = math.inf, S_noise: float = 1,
    dtype: torch.dtype = torch.float32, randn_like: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:  # fmt: skip
    """Solve the probability-flow ODE from noise to images; with S_churn > 0, the stochastic sampler.

    Second order; 2 num_steps - 1 evaluations of `denoise`, the last step being Euler's.

    Args:
        denoise: Denoiser, denoise(x, sigma, labels) with a 0-dim sigma.
        noise: Unit normal noise, [B, C, H, W].
        labels: Classes, int64 [B], or None; handed to `denoise`.
        num_steps, sigma_min, sigma_max, rho: See `karras_sigmas`.
        S_churn, S_min, S_max, S_noise: Amount of fresh noise a step, the noise levels at which it is added, its factor.
        dtype: Precision of the solver's state, in which the denoiser is handed x and sigma; what it computes in is its own.
        randn_like: Source of fresh noise; default: torch.randn_like.

    Returns:
        Images in data units, [B, C, H, W], of `dtype`.

    Raises:
        UserError: See `karras_sigmas`.
    """
    randn_like = randn_like or torch.randn_like
    sigmas = karras_sigmas(num_steps, sigma_min, sigma_max, rho).tolist()
    x = noise.to(dtype) * sigmas[0]

    def slope(x: Tensor, sigma: float) -> Tensor:
        """dx/dsigma (2022, Eq. 3 with s = 1)."""
        return (x - denoise(x, torch.tensor(sigma, dtype=dtype, device=x.device), labels).to(dtype)) / sigma

    for level, sigma_next in pairwise(sigmas):
        sigma = level
        if S_churn > 0 and S_min <= level <= S_max:
            sigma = level * (1 + min(S_churn / num_steps, math.sqrt(2) - 1))
            x = x + math.sqrt(sigma**2 - level**2) * S_noise * randn_like(x)
        d = slope(x, sigma)
        euler = x + (sigma_next - sigma) * d
        x = euler if sigma_next == 0 else x + (sigma_next - sigma) * (d + slope(euler, sigma_next)) / 2
    return x
