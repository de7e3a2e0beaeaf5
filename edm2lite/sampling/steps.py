"""What the solvers share: how they ask the denoiser, and EDM's churn."""

import math
from collections.abc import Callable

import torch
from torch import Tensor


def bind(
    denoise: Callable[..., Tensor], labels: Tensor | None, dtype: torch.dtype
) -> Callable[[Tensor, float], Tensor]:
    """D(x, sigma) for a number sigma, returning `dtype`.

    The denoiser gets sigma as a 0-dim tensor of `dtype` on the CPU, whatever the device of x: weights of guidance read its
    value, and reading it from a GPU would wait for the GPU at every step.
    """
    return lambda x, sigma: denoise(x, torch.tensor(sigma, dtype=dtype, device="cpu"), labels).to(dtype)


def make_churn(
    num_steps: int, S_churn: float, S_min: float, S_max: float, S_noise: float,
    randn_like: Callable[[Tensor], Tensor] | None,
) -> Callable[[Tensor, float], tuple[Tensor, float]]:  # fmt: skip
    """EDM's churn (Karras et al. 2022, Algorithm 2, lines 4 to 6): (x, sigma) -> x with fresh noise, its higher noise level.

    Args:
        num_steps: Noise levels above 0, over which S_churn is divided.
        S_churn: Amount of fresh noise; 0: x and sigma come back as they are. A step raises sigma by 41% at most.
        S_min, S_max: Noise levels between which noise is added, both included.
        S_noise: Factor on the noise.
        randn_like: Source of the noise; default: torch.randn_like.
    """
    gamma = min(S_churn / num_steps, math.sqrt(2) - 1)
    draw = randn_like or torch.randn_like

    def churn(x: Tensor, level: float) -> tuple[Tensor, float]:
        if gamma <= 0 or not S_min <= level <= S_max:
            return x, level
        sigma = level * (1 + gamma)
        return x + math.sqrt(sigma**2 - level**2) * S_noise * draw(x), sigma

    return churn
