"""Sequences of noise levels."""

import math

import torch
from torch import Tensor

from edm2lite.errors import UserError


def karras_sigmas(num_steps: int, sigma_min: float = 0.002, sigma_max: float = 80, rho: float = 7) -> Tensor:
    """EDM's noise levels (Karras et al. 2022, Eq. 5), followed by 0.

    sigma_i = (sigma_max^(1/rho) + i/(N-1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho for i < N = num_steps.

    Returns:
        float64 [num_steps + 1], falling from sigma_max to sigma_min, then 0.

    Raises:
        UserError: Unless num_steps >= 2, 0 < sigma_min < sigma_max and rho > 0.
    """
    if num_steps < 2:
        raise UserError(f"num_steps is {num_steps}; it must be at least 2: one step for each end of the noise levels")
    if not 0 < sigma_min < sigma_max < math.inf:
        raise UserError(f"sigma_min is {sigma_min} and sigma_max {sigma_max}; choose 0 < sigma_min < sigma_max")
    if rho <= 0:
        raise UserError(f"rho is {rho}; it must be positive (EDM uses 7)")
    i = torch.arange(num_steps, dtype=torch.float64) / (num_steps - 1)
    high, low = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    sigmas = (high + i * (low - high)) ** rho
    return torch.cat([sigmas, torch.zeros(1, dtype=torch.float64)])
