"""Data of which everything is known: Gaussian, whose denoiser stands in tests/guidance/gaussian.py.

Along the ODE's solutions (x - mean) / sqrt(std^2 + sigma^2) is constant. All solvers are affine in x and in the fresh noise on
such data, so mean and variance of their samples can be had without drawing any: from what they make of basis vectors.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.guidance.gaussian import STD, gaussian

MEAN = 0.3
Sampler = Callable[..., Tensor]


def centred_away(x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
    """The denoiser of N(MEAN, STD^2)."""
    return gaussian(x, sigma, labels, MEAN)


class Recorder:
    """A denoiser that remembers what it was handed."""

    def __init__(self, denoise: Callable[..., Tensor]):
        self.denoise, self.calls = denoise, list[tuple[Tensor, Tensor, Tensor | None]]()

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        self.calls.append((x, sigma, labels))
        return self.denoise(x, sigma, labels)


def error_at_lowest_level(sample: Sampler, sigmas: Any) -> float:
    """Largest error of a solver against the ODE's solution, at the lowest level: before the step to 0.

    All solvers evaluate the denoiser there last of all, so the last x handed to it is their solution at that level. The step
    to 0 would add the same error at any number of steps: D(x; sigma) is off the solution at 0 by about
    (x - mean) sigma_min^2 / (2 std^2), 8e-6 of it here with EDM's sigma_min, which hides the order of a good solver.
    """
    denoise = Recorder(centred_away)
    noise = torch.linspace(-2, 2, 9, dtype=torch.float64).reshape(1, 1, 3, 3)
    sample(denoise, noise, sigmas=sigmas, dtype=torch.float64)
    high, low = float(sigmas[0]), float(sigmas[-1])
    exact = MEAN + (noise * high - MEAN) * math.sqrt((STD**2 + low**2) / (STD**2 + high**2))
    return float((denoise.calls[-1][0] - exact).abs().max())


def uniform_in_lambda(n: int, high: float = 80.0, low: float = 0.002) -> list[float]:
    """Levels whose steps are equally long in ln sigma."""
    return [high * (low / high) ** (i / (n - 1)) for i in range(n)]


def alternating(n: int, high: float = 80.0, low: float = 0.002) -> list[float]:
    """Levels whose steps in ln sigma are short and twice as long in turn, however many they are."""
    ends = [0, *itertools.accumulate(1 + i % 2 for i in range(n - 1))]
    return [high * (low / high) ** (end / ends[-1]) for end in ends]


def orders(errors: list[float]) -> list[float]:
    """Slopes of log error over log step, the number of steps doubling from one error to the next."""
    return [math.log2(a / b) for a, b in itertools.pairwise(errors)]


def mean_and_variance(sample: Sampler, sigma_max: float = 80.0, **settings: Any) -> tuple[float, float]:
    """Mean and variance of what a solver makes of N(MEAN, STD^2), started from the exact distribution at sigma_max."""
    start = math.sqrt(STD**2 + sigma_max**2) / sigma_max
    basis = iter(torch.eye(1000, dtype=torch.float64))
    settings = {"sigma_max": sigma_max, "dtype": torch.float64} | settings
    parts = sample(gaussian, start * next(basis), randn_like=lambda x: next(basis), **settings)
    centre = torch.full((1,), MEAN / sigma_max, dtype=torch.float64)
    return float(sample(centred_away, centre, randn_like=torch.zeros_like, **settings)), float(parts.square().sum())


def data_variance(sigma_min: float = 0.002) -> float:
    """Variance of D(x; sigma_min) for x distributed as it should be; all solvers end with this evaluation."""
    return STD**4 / (STD**2 + sigma_min**2)
