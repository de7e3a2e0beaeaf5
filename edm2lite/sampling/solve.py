"""The solver that a configuration names."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from edm2lite.config import SamplerConfig
from edm2lite.sampling.ancestral import sample_ancestral
from edm2lite.sampling.deis import sample_deis
from edm2lite.sampling.dpmpp import sample_dpmpp_2m, sample_dpmpp_2s
from edm2lite.sampling.euler import sample_euler
from edm2lite.sampling.heun import sample_heun
from edm2lite.sampling.noise_levels import noise_levels
from edm2lite.sampling.unipc import sample_unipc


def solve(
    cfg: SamplerConfig, denoise: Callable[..., Tensor], noise: Tensor, *, labels: Tensor | None = None,
    randn_like: Callable[[Tensor], Tensor] | None = None, dtype: torch.dtype = torch.float32,
) -> Tensor:  # fmt: skip
    """Images in data units, of `dtype`, from unit noise [B, C, H, W], by the solver and the noise levels of `cfg`.

    Args:
        labels: Classes, int64 [B], or None; handed to `denoise`.
        randn_like: Source of fresh noise for solvers that add some; default: torch.randn_like.
        dtype: Precision of the solver's state.
    """
    churn = {name: getattr(cfg, name) for name in ("S_churn", "S_min", "S_max", "S_noise")}
    solvers: dict[str, tuple[Callable[..., Tensor], dict[str, Any]]] = {
        "heun": (sample_heun, {**churn, "randn_like": randn_like}),
        "euler": (sample_euler, {**churn, "randn_like": randn_like}),
        "dpmpp_2m": (sample_dpmpp_2m, {}),
        "dpmpp_2s": (sample_dpmpp_2s, {}),
        "deis": (sample_deis, {}),
        "unipc": (sample_unipc, {}),
        "ancestral": (sample_ancestral, {"v": cfg.v, "randn_like": randn_like}),
    }
    solver, settings = solvers[cfg.solver]
    return solver(denoise, noise, labels=labels, sigmas=noise_levels(cfg)[:-1], dtype=dtype, **settings)
