"""Where a class lies: its exact log-density on a grid, and the level that 99.9 % of true points pass."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from edm2lite.toy2d.truth import ground_truth
from edm2lite.toy2d.yardstick import low_density

SIGMA = 0.002  # the noise level at which points are compared with the truth
_DRAWS = 2**18


class Box(NamedTuple):
    """A part of the plane: from and to, along each axis."""

    x: tuple[float, float]
    y: tuple[float, float]

    @property
    def height(self) -> float:
        """Along y, with 1 along x."""
        return (self.y[1] - self.y[0]) / (self.x[1] - self.x[0])

    def wider(self, margin: float) -> "Box":
        """The box with a margin on all sides."""
        return Box((self.x[0] - margin, self.x[1] + margin), (self.y[0] - margin, self.y[1] + margin))

    def holds(self, points: Tensor) -> Tensor:
        """Which of the points [N, 2] lie inside, bool [N]."""
        low, high = torch.tensor([self.x, self.y], dtype=points.dtype).unbind(1)
        return ((points >= low) & (points <= high)).all(1)


def around(classes: str, margin: float) -> Box:
    """The box around all components of a class, with a margin."""
    means = ground_truth(classes).means
    low, high = means.amin(0).tolist(), means.amax(0).tolist()
    return Box((low[0], high[0]), (low[1], high[1])).wider(margin)


class Grid(NamedTuple):
    """Places of a box: x [n], y [m], and all of them as points [m n, 2], row by row."""

    x: Tensor
    y: Tensor
    points: Tensor


def grid(box: Box, n: int) -> Grid:
    """About n^2 points of a box at equal distances in x and y, n along x."""
    x, y = torch.linspace(*box.x, n), torch.linspace(*box.y, max(2, round(n * box.height)))
    along_y, along_x = torch.meshgrid(y, x, indexing="ij")
    return Grid(x, y, torch.stack([along_x, along_y], dim=-1).flatten(0, 1))


def outliers(points: Tensor) -> Tensor:
    """Which of the points [N, 2] lie where class A is less dense than at 99.9 % of its own points, bool [N].

    Points that are not finite are outliers.
    """
    truth = ground_truth("A")
    return ~(truth.logp(points.double(), SIGMA) >= low_density(truth, SIGMA))


@dataclass(frozen=True)
class Region:
    """Where p(x; sigma) is at least what 99.9 % of its own points have: log-density [m, n] on a grid, and that level."""

    grid: Grid
    logp: Tensor
    level: float

    def shade(self, axes: Any, color: str) -> None:
        """Fill it."""
        axes.contourf(self.grid.x, self.grid.y, self.logp, levels=[self.level, float("inf")], colors=[color])


def region(classes: str, box: Box, n: int, sigma: float = SIGMA, draws: int = _DRAWS) -> Region:
    """The part of a class's region that lies in a box.

    Args:
        classes: A, B or AB.
        box: The part.
        n: Points along x.
        sigma: Noise level.
        draws: True points that decide the level; a point outside is an outlier but for chance in this.
    """
    places = grid(box, n)
    logp = ground_truth(classes, torch.float32).logp(places.points, sigma)
    return Region(
        places, logp.reshape(len(places.y), len(places.x)), low_density(ground_truth(classes), sigma, n=draws)
    )
