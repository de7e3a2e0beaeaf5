"""DEIS (Zhang and Chen 2022, arXiv 2204.13902): Adams-Bashforth with exact weights, on EDM's ODE in ln sigma."""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from edm2lite.sampling.multistep import integrals, weighted_sum
from edm2lite.sampling.noise_levels import choose_levels
from edm2lite.sampling.steps import bind

_ORDER = 3


@torch.no_grad()
def sample_deis(
    denoise: Callable[..., Tensor], noise: Tensor, *, labels: Tensor | None = None,
    num_steps: int = 32, sigma_min: float = 0.002, sigma_max: float = 80, rho: float = 7,
    sigmas: Sequence[float] | Tensor | None = None, dtype: torch.dtype = torch.float32,
) -> Tensor:  # fmt: skip
    """Solve the probability-flow ODE by Adams-Bashforth of third order in the predicted noise.

    In EDM's variables the ODE is dx/dsigma = e with e = (x - D(x; sigma)) / sigma, the noise. A step adds the exact integral
    of the polynomial through the last three e (2022, tAB-DEIS; in the first two steps, of lower order, there are but one and
    two). The paper's polynomial is one in its time t; here it is one in ln sigma (diffusers' "logrho"): docs/solvers.md
    compares both. num_steps evaluations of `denoise`; the step to 0 returns the denoised.

    Arguments, result and errors are those of `sample_heun`; it is deterministic.
    """
    levels = choose_levels(sigmas, num_steps, sigma_min, sigma_max, rho).tolist()
    D = bind(denoise, labels, dtype)
    x = noise.to(dtype) * levels[0]
    history: deque[tuple[float, Tensor]] = deque(maxlen=_ORDER)  # noise level, noise predicted there
    for sigma, sigma_next in pairwise(levels):
        denoised = D(x, sigma)
        if sigma_next == 0:
            return denoised
        history.append((sigma, (x - denoised) / sigma))
        at, values = zip(*history, strict=True)
        x = x + weighted_sum(integrals(at, sigma, sigma_next, np.ones_like), values)
    return x
