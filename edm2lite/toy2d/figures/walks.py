"""The way of each point from noise to sample."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edm2lite.toy2d.points import Guided2d


@dataclass(frozen=True)
class Walk:
    """States of the solver: sigma [S], falling, the last 0; points [S, N, 2] at these."""

    sigma: Tensor
    points: Tensor

    def at(self, when: Sequence[float] | np.ndarray) -> "Walk":
        """The states at positions between 0, the start, and 1, the end, equally far apart in solver steps.

        Between two noise levels points move straight in sigma, as in a step of the solver.
        """
        position = torch.as_tensor(np.asarray(when), dtype=self.points.dtype) * (len(self.sigma) - 1)
        before = position.long().clamp(max=len(self.sigma) - 2)
        part = position - before
        sigma = torch.lerp(self.sigma[before], self.sigma[before + 1], part)
        return Walk(sigma, torch.lerp(self.points[before], self.points[before + 1], part[:, None, None]))

    def scaled(self, sigma_data: float) -> "Walk":
        """Points times sigma_data / sqrt(sigma^2 + sigma_data^2): of one spread at all noise levels, and themselves at 0."""
        factor = sigma_data / (self.sigma**2 + sigma_data**2).sqrt()
        return Walk(self.sigma, self.points * factor[:, None, None])


def walk(pair: Guided2d, seeds: Sequence[int]) -> Walk:
    """Sample points, and keep where they were at each noise level: what the denoiser was last given there."""
    seen: dict[float, Tensor] = {}
    end = pair(seeds, record=seen.__setitem__)
    sigmas = sorted(seen, reverse=True)
    states = [*(seen[sigma] for sigma in sigmas), end]
    return Walk(torch.tensor([*sigmas, 0.0], dtype=torch.float64), torch.stack(states).double())
