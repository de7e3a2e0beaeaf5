"""EDM's Heun solver (Karras et al. 2022, arXiv 2206.00364, Algorithms 1 and 2)."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from edm2lite.sampling.noise_levels import choose_levels
from edm2lite.sampling.steps import bind, make_churn


@torch.no_grad()
def sample_heun(
    denoise: Callable[..., Tensor], noise: Tensor, *, labels: Tensor | None = None,
    num_steps: int = 32, sigma_min: float = 0.002, sigma_max: float = 80, rho: float = 7,
    sigmas: Sequence[float] | Tensor | None = None,
    S_churn: float = 0, S_min: float = 0, S_max: float = math.inf, S_noise: float = 1,
    dtype: torch.dtype = torch.float32, randn_like: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:  # fmt: skip
    """Solve the probability-flow ODE from noise to images; with S_churn > 0, the stochastic sampler.

    Second order; 2 num_steps - 1 evaluations of `denoise`, the last step being Euler's.

    Args:
        denoise: Denoiser, denoise(x, sigma, labels) with a 0-dim sigma on the CPU.
        noise: Unit normal noise, [B, C, H, W].
        labels: Classes, int64 [B], or None; handed to `denoise`.
        num_steps, sigma_min, sigma_max, rho: See `karras_sigmas`.
        sigmas: The noise levels themselves, falling, without the final 0; the four numbers before are then not used.
        S_churn, S_min, S_max, S_noise: Amount of fresh noise a step, the noise levels at which it is added, its factor.
        dtype: Precision of the solver's state, in which the denoiser is handed x and sigma; what it computes in is its own.
        randn_like: Source of fresh noise; default: torch.randn_like.

    Returns:
        Images in data units, [B, C, H, W], of `dtype`.

    Raises:
        UserError: If the noise levels are impossible; see `karras_sigmas`.
    """
    levels = choose_levels(sigmas, num_steps, sigma_min, sigma_max, rho).tolist()
    churn = make_churn(len(levels) - 1, S_churn, S_min, S_max, S_noise, randn_like)
    D = bind(denoise, labels, dtype)

    def slope(x: Tensor, sigma: float) -> Tensor:
        """dx/dsigma (2022, Eq. 3 with s = 1)."""
        return (x - D(x, sigma)) / sigma

    x = noise.to(dtype) * levels[0]
    for level, sigma_next in pairwise(levels):
        x, sigma = churn(x, level)
        d = slope(x, sigma)
        euler = x + (sigma_next - sigma) * d
        x = euler if sigma_next == 0 else x + (sigma_next - sigma) * (d + slope(euler, sigma_next)) / 2
    return x
