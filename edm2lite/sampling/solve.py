"""The solver that a configuration names."""

from collections.abc import Callable

from torch import Tensor

from edm2lite.config import SamplerConfig
from edm2lite.sampling.heun import sample_heun


def solve(
    cfg: SamplerConfig, denoise: Callable[..., Tensor], noise: Tensor, *, labels: Tensor | None = None,
    randn_like: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:  # fmt: skip
    """Images in data units from unit noise [B, C, H, W], by the solver and the noise levels of `cfg`."""
    return sample_heun(
        denoise, noise, labels=labels, randn_like=randn_like,
        num_steps=cfg.num_steps, sigma_min=cfg.sigma_min, sigma_max=cfg.sigma_max, rho=cfg.rho,
        S_churn=cfg.S_churn, S_min=cfg.S_min, S_max=cfg.S_max, S_noise=cfg.S_noise,
    )  # fmt: skip
