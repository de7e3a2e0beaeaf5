"""Sequences of noise levels."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from edm2lite.config import SamplerConfig
from edm2lite.config.sampling import check_sigmas
from edm2lite.errors import UserError


def noise_levels(cfg: SamplerConfig) -> Tensor:
    """The noise levels that `cfg` asks for, float64 [N + 1]: its own list or EDM's, then 0."""
    return choose_levels(cfg.sigmas, cfg.num_steps, cfg.sigma_min, cfg.sigma_max, cfg.rho)


def choose_levels(
    sigmas: Sequence[float] | Tensor | None, num_steps: int, sigma_min: float, sigma_max: float, rho: float
) -> Tensor:
    """Explicit noise levels if there are any, else EDM's; float64 [N + 1] on the CPU, the last 0.

    Args:
        sigmas: Noise levels without the final 0; None: `karras_sigmas` of the other four, which are not used otherwise.

    Raises:
        UserError: Unless there are at least two levels that fall and stay above 0; see `karras_sigmas`, too.
    """
    if sigmas is None:
        return karras_sigmas(num_steps, sigma_min, sigma_max, rho)
    levels = torch.as_tensor(sigmas, dtype=torch.float64, device="cpu").tolist()
    check_sigmas("sigmas", levels)
    return torch.tensor([*levels, 0.0], dtype=torch.float64, device="cpu")


def karras_sigmas(num_steps: int, sigma_min: float = 0.002, sigma_max: float = 80, rho: float = 7) -> Tensor:
    """EDM's noise levels (Karras et al. 2022, Eq. 5), followed by 0.

    sigma_i = (sigma_max^(1/rho) + i/(N-1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho for i < N = num_steps.

    Returns:
        float64 [num_steps + 1] on the CPU, falling from sigma_max to sigma_min, then 0.

    Raises:
        UserError: Unless num_steps >= 2, 0 < sigma_min < sigma_max and rho > 0.
    """
    if num_steps < 2:
        raise UserError(f"num_steps is {num_steps}; it must be at least 2: one step for each end of the noise levels")
    if not 0 < sigma_min < sigma_max < math.inf:
        raise UserError(f"sigma_min is {sigma_min} and sigma_max {sigma_max}; choose 0 < sigma_min < sigma_max")
    if rho <= 0:
        raise UserError(f"rho is {rho}; it must be positive (EDM uses 7)")
    i = torch.arange(num_steps, dtype=torch.float64, device="cpu") / (num_steps - 1)
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    sigmas = (high + i * (low - high)) ** rho
    return torch.cat([sigmas, sigmas.new_zeros(1)])
