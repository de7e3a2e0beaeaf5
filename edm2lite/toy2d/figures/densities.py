"""Densities of main and guide at one noise level, and their ratio, along whose gradient autoguidance pushes."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edm2lite.toy2d.figures.regions import Box, Grid, grid
from edm2lite.toy2d.truth import ground_truth

_SPREAD = 4.0  # the densities are normalised on a box wider than all components by so many sigma


@dataclass(frozen=True)
class Densities:
    """Log-densities [m, n] at one noise level on a grid, each with integral 1 over it.

    Attributes:
        grid: Where.
        truth, main, guide: Whose.
    """

    grid: Grid
    truth: Tensor
    main: Tensor
    guide: Tensor

    @property
    def ratio(self) -> Tensor:
        """ln(p_main / p_guide), [m, n]."""
        return self.main - self.guide


def densities(main: Any, guide: Any, box: Box, sigma: float, n: int) -> Densities:
    """Log-densities of the truth (class A) and of two models on about n^2 points of a box wider than `box` by 4 sigma.

    Args:
        main, guide: With `logp(points, sigma)`, up to a constant.
        box: Holds all components.
        sigma: Noise level.
        n: Points along x.
    """
    places = grid(box.wider(_SPREAD * sigma), n)
    area = float((places.x[1] - places.x[0]) * (places.y[1] - places.y[0]))

    def normalised(model: Any) -> Tensor:
        with torch.no_grad():
            logp = model.logp(places.points, sigma).double()
        return (logp - logp.logsumexp(0)).reshape(len(places.y), len(places.x)) - torch.tensor(area).log()

    truth = ground_truth("A", torch.float32)
    return Densities(places, *(normalised(model) for model in (truth, main, guide)))


def push(main: Any, guide: Any, points: Tensor, sigma: float) -> Tensor:
    """grad_x ln(p_main / p_guide) at points [N, 2]: (D_main - D_guide) / sigma^2, which guidance adds w - 1 times (Eq. 3)."""
    x = points.reshape(-1, 2, 1, 1)
    return ((main(x, sigma) - guide(x, sigma)) / sigma**2).flatten(1).detach()
