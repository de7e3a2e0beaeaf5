"""How far a metric is to be trusted: delete-group jackknife, extrapolation, paired differences. Imports no torch.

There is no percentile bootstrap: resampled sets have fewer distinct images, and a Frechet distance grows as images get fewer,
so that its interval may not even hold the value it is meant for.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev

import numpy as np

from edm2lite.errors import UserError
from edm2lite.evaluation.score import Score

GROUPS = 10
# Student's t, 97.5 %, for 1, 2 ... 30 degrees of freedom; beyond, 2.0
_STUDENT = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True)
class Estimate:
    """A value, and the same without each group of images.

    Attributes:
        value: Of all images.
        leave_one_out: Without each group; empty where too few images would be left.
        details: Parts of the value, by name.
    """

    value: float
    leave_one_out: tuple[float, ...] = ()
    details: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """Of two means.

    Attributes:
        mean: Second less first.
        sd: Spread of the differences of single blocks; None: there is but one, or none in common.
        se: Standard error of the mean.
        degrees: Degrees of freedom behind `se`.
    """

    mean: float
    sd: float | None
    se: float
    degrees: int


def jackknife_groups(count: int, groups: int = GROUPS) -> np.ndarray:
    """Group of each of `count` images, int64: random, of equal sizes to one image, the same for the same count.

    Not the position modulo the number of groups: balanced labels are the seed modulo the number of classes, and a group would
    be a few classes instead of a random part of the images.
    """
    return np.random.RandomState(0).permutation(count) % groups


def jackknife_se(leave_one_out: Sequence[float]) -> float | None:
    """Standard error from the values without each of K groups: sqrt((K-1)/K sum (F_k - mean F)^2).

    Efron & Tibshirani 1993, An Introduction to the Bootstrap, Eq. 11.5. None for fewer than two groups.
    """
    if len(leave_one_out) < 2:
        return None
    mean = fmean(leave_one_out)
    return math.sqrt((len(leave_one_out) - 1) / len(leave_one_out) * sum((x - mean) ** 2 for x in leave_one_out))


def extrapolate(value: float, leave_one_out: Sequence[float]) -> float | None:
    """The value for infinitely many images, K F - (K-1) mean F_k: exact where the bias falls as 1/N. None without groups."""
    groups = len(leave_one_out)
    return groups * value - (groups - 1) * fmean(leave_one_out) if groups > 1 else None


def paired_difference(a: Sequence[float], b: Sequence[float]) -> Difference:
    """Mean of b - a over blocks of common seeds, with its standard error from the spread over the blocks.

    Raises:
        UserError: If the numbers of blocks differ or there are fewer than two.
    """
    if len(a) != len(b) or len(a) < 2:
        raise UserError(
            f"paired difference of {len(a)} and {len(b)} blocks; it takes the same blocks of both, at least two: add repeats"
        )
    differences = [y - x for x, y in zip(a, b, strict=True)]
    sd = stdev(differences)
    return Difference(fmean(differences), sd, sd / math.sqrt(len(differences)), len(differences) - 1)


def difference(a: Mapping[Hashable, Score], b: Mapping[Hashable, Score]) -> Difference | None:
    """Mean of b less mean of a, two rows of a table with the scores of one metric by block of seeds.

    Over the common blocks. From three of them on the spread of their differences gives the error; two blocks have one degree
    of freedom and tell nothing, so with one or two it is the jackknife of the difference, group by group. Without a common
    block it is the difference of the means with both jackknife errors.

    Returns:
        None where the scores have no errors.
    """
    common = [key for key in a if key in b]
    if len(common) >= 3:
        return paired_difference([a[key].value for key in common], [b[key].value for key in common])
    if common:
        return _by_jackknife([(a[key], b[key]) for key in common])
    if not a or not b:
        return None
    errors = [[score.se for score in row.values() if score.se is not None] for row in (a, b)]
    if any(len(e) < len(row) for e, row in zip(errors, (a, b), strict=True)):
        return None
    mean = fmean(score.value for score in b.values()) - fmean(score.value for score in a.values())
    return Difference(mean, None, math.hypot(*(math.hypot(*e) / len(e) for e in errors)), GROUPS - 1)


def _by_jackknife(pairs: list[tuple[Score, Score]]) -> Difference | None:
    """Mean difference over blocks, with the error of each block's difference from its jackknife groups."""
    errors = []
    for x, y in pairs:
        if len(x.leave_one_out) != len(y.leave_one_out):
            return None
        se = jackknife_se([q - p for p, q in zip(x.leave_one_out, y.leave_one_out, strict=True)])
        if se is None:
            return None
        errors.append(se)
    differences = [y.value - x.value for x, y in pairs]
    degrees = sum(len(x.leave_one_out) - 1 for x, _ in pairs)
    sd = stdev(differences) if len(pairs) > 1 else None
    return Difference(fmean(differences), sd, math.hypot(*errors) / len(pairs), degrees)


def student(degrees: int) -> float:
    """Half-width, in standard errors, of a 95 % interval: Student's t for so many degrees of freedom."""
    return _STUDENT[degrees - 1] if degrees <= len(_STUDENT) else 2.0


def statistically_tied(best: Mapping[Hashable, Score], other: Mapping[Hashable, Score]) -> bool:
    """Whether `difference` is within its 95 % interval around zero: the two cannot be told apart.

    About one of twenty pairs that are equal is told apart by chance; for several rows there is no correction. Without
    errors nothing is tied but equal values.
    """
    gap = difference(best, other)
    if gap is None:
        return list(best) == list(other) and all(best[key].value == other[key].value for key in best)
    return abs(gap.mean) <= student(gap.degrees) * gap.se
