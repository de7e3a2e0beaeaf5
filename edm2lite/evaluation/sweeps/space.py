"""The points of a sweep, by their places on its axes. Imports no torch."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from edm2lite.config.sweeps import SweepConfig, SweepPoint
from edm2lite.config.tables import VARIED

Place = tuple[int, ...]  # index on each axis


@dataclass(frozen=True)
class Space:
    """All combinations of the values on some axes.

    Attributes:
        main_ema, guide_nimg, guide_ema, weight: The values of each axis, in this order; the last varies fastest, so that
            neighbours in the list of points mostly share their models.
    """

    main_ema: tuple[float | None, ...]
    guide_nimg: tuple
    guide_ema: tuple[float | None, ...]
    weight: tuple[float, ...]

    @property
    def axes(self) -> tuple[tuple, ...]:
        return (self.main_ema, self.guide_nimg, self.guide_ema, self.weight)

    @property
    def shape(self) -> Place:
        return tuple(len(axis) for axis in self.axes)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @cached_property
    def points(self) -> list[SweepPoint]:
        """All points, in order."""
        return [self.at(place) for place in itertools.product(*map(range, self.shape))]

    def at(self, place: Place) -> SweepPoint:
        """The point at a place."""
        main_ema, guide_nimg, guide_ema, weight = (axis[i] for axis, i in zip(self.axes, place, strict=True))
        return SweepPoint(main_ema=main_ema, guide_nimg=guide_nimg, guide_ema=guide_ema, weight=weight)

    def place(self, point: SweepPoint) -> Place:
        """Where a point lies."""
        values = (point.main_ema, point.guide_nimg, point.guide_ema, point.weight)
        return tuple(axis.index(value) for axis, value in zip(self.axes, values, strict=True))

    def middle(self) -> Place:
        """The place in the middle of every axis, below it if there are two."""
        return tuple((n - 1) // 2 for n in self.shape)


def guided_space(cfg: SweepConfig) -> Space:
    """The space of a sweep."""
    axes = cfg.axes
    return Space(axes["main_ema"], axes["guide_nimg"], axes["guide_ema"], axes["weights"])


def alone_space(cfg: SweepConfig) -> Space:
    """The main model alone, over its EMA lengths."""
    return Space(cfg.axes["main_ema"], (None,), (None,), (VARIED["weight"],))


def starts(cfg: SweepConfig, space: Space) -> Sequence[Place]:
    """Where local searches of a space begin."""
    if space != guided_space(cfg):
        return list(dict.fromkeys((space.main_ema.index(p.main_ema), 0, 0, 0) for p in cfg.starts)) or [space.middle()]
    return [space.place(point) for point in cfg.starts] or [space.middle()]
