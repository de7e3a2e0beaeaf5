"""The fractal: each class is a binary tree of branches, each branch a row of Gaussians (2024b, Appendix C)."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np

GENERATIONS = 7
COMPONENTS = 8  # Gaussians a branch
_ANGLES = {"A": pi / 4, "B": 5 * pi / 4}  # in which direction a class's first branch grows
_SEED = 2
_ROOT = (0.0030, 0.0325)
_SCALE = np.array([1.3136, 1.3844])  # of the axes, so that both classes together have the spread of EDM's data
_FIRST, _LAST = 0.07, 0.93  # where on a branch the first and the last of its Gaussians are
_ALONG, _ACROSS = 0.06, 0.2  # standard deviations: of the length; of what a branch of its depth is long, too


@dataclass(frozen=True)
class Branch:
    """A row of Gaussians of equal weight and covariance.

    Attributes:
        label: Its class, "A" or "B".
        path: How it is reached from its class's first branch: "" for that, "+" and "-" for its children, "++" ...
        means: Of its Gaussians, [COMPONENTS, 2].
        covariance: Of each Gaussian, [2, 2].
        weight: Of each Gaussian, not normalised.
    """

    label: str
    path: str
    means: np.ndarray
    covariance: np.ndarray
    weight: float

    @property
    def depth(self) -> int:
        """Generations before it."""
        return len(self.path)


def branches() -> Iterator[Branch]:
    """All branches of both classes, depth first, A before B: 127 a class; lengths and angles are random but fixed."""
    rng = np.random.RandomState(_SEED)
    for label, angle in _ANGLES.items():
        yield from _grow(rng, label, "", np.array(_ROOT), angle)


def _grow(rng: np.random.RandomState, label: str, path: str, start: np.ndarray, angle: float) -> Iterator[Branch]:
    depth = len(path)
    length = 0.292 * 0.8**depth * (1 + 0.2 * rng.randn())
    along = np.array([cos(angle), sin(angle)])
    yield _branch(label, path, start, along, length)
    for sign, way in ((1, "+"), (-1, "-")):
        child = angle + sign * 0.7**depth * (1 + 0.2 * rng.randn())  # drawn even where no child follows
        if depth + 1 < GENERATIONS:
            yield from _grow(rng, label, path + way, start + length * along, child)


def _branch(label: str, path: str, start: np.ndarray, along: np.ndarray, length: float) -> Branch:
    depth, across = len(path), np.array([-along[1], along[0]])
    thickness = _ACROSS * 0.8**depth / length
    axes = np.stack([along, across * thickness]) * (_ALONG * length * _SCALE)
    return Branch(
        label=label,
        path=path,
        means=(start + np.linspace(_FIRST, _LAST, COMPONENTS)[:, None] * along * length) * _SCALE,
        covariance=axes.T @ axes,
        weight=length * 0.5**depth,
    )
