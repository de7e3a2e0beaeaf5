"""Solvers that were tried and not taken into the package, for benchmarks/solvers.py; each like `sample_deis` with levels."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from edm2lite.sampling.multistep import integrals, weighted_sum
from edm2lite.sampling.steps import bind

ADAMS = {1: (1.0,), 2: (-1 / 2, 3 / 2), 3: (5 / 12, -16 / 12, 23 / 12)}  # Adams-Bashforth on equal steps, oldest first
Weights = Callable[[Sequence[float], float, float], Sequence[float]]


def multistep(weights: Weights, data: bool) -> Callable[..., Tensor]:
    """A solver of third order: x' = x (sigma'/sigma if `data`) + sum of weights times the last D (if `data`) or noise."""

    @torch.no_grad()
    def sample(denoise: Callable[..., Tensor], noise: Tensor, sigmas: Sequence[float]) -> Tensor:
        D, x = bind(denoise, None, noise.dtype), noise * sigmas[0]
        known: list[tuple[float, Tensor]] = []
        for sigma, after in pairwise(sigmas):
            denoised = D(x, sigma)
            known = [*known[-2:], (sigma, denoised if data else (x - denoised) / sigma)]
            at, values = zip(*known, strict=True)
            x = (x * (after / sigma) if data else x) + weighted_sum(weights(at, sigma, after), values)
        return D(x, sigmas[-1])

    return sample


def in_sigma(at: Sequence[float], sigma: float, after: float) -> list[float]:
    """Integrals of the Lagrange polynomials in sigma itself, DEIS's tAB with t = sigma."""
    places = np.array(at) - sigma
    powers = [(after - sigma) ** (k + 1) / (k + 1) for k in range(len(at))]
    return np.linalg.solve(np.vander(places, increasing=True).T, powers).tolist()


CANDIDATES = {
    "dpmpp_3m": multistep(lambda at, s, t: integrals(at, s, t, lambda a: -t / a**2), data=True),
    "deis_in_sigma": multistep(in_sigma, data=False),
    "ipndm_3": multistep(lambda at, s, t: [(t - s) * c for c in ADAMS[len(at)]], data=False),
}
