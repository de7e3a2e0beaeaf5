"""Claims about rows, judged by paired differences over blocks of seeds. Imports no torch and knows no table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from edm2lite.config.claims import WEIGHT, ClaimConfig, ComparisonConfig
from edm2lite.evaluation.metrics.uncertainty import paired_difference, student

Values = Sequence[float]  # one a block of seeds
_WORDS = {True: "TRUE", False: "FALSE", None: "OPEN"}


@dataclass(frozen=True)
class Evidence:
    """What claims are judged by.

    Attributes:
        look_up: For (row, metric) every setting of the row as (weight, values): in the same order for every metric, one value a
            block, the same blocks everywhere. Settings may share a weight and differ in something else.
        first: The metric that decides what is best, and the one of comparisons that name none.
        lower_is_better: Whether that holds for `first`.
    """

    look_up: Callable[[str, str], Sequence[tuple[float, Values]]]
    first: str
    lower_is_better: bool = True


@dataclass(frozen=True)
class Verdict:
    """What became of a claim.

    Attributes:
        says: The claim.
        holds: True, False, or None: cannot be told.
        reasons: A line for every comparison, with its numbers.
    """

    says: str
    holds: bool | None
    reasons: tuple[str, ...]

    @property
    def word(self) -> str:
        """TRUE, FALSE or OPEN."""
        return _WORDS[self.holds]

    def __str__(self) -> str:
        return "\n".join([f"{self.word}: {self.says}", *(f"  {reason}" for reason in self.reasons)])


@dataclass(frozen=True)
class _Side:
    """One side of a comparison: its value on every block, and how people call it."""

    values: Values
    name: str


def judge(claim: ClaimConfig, evidence: Evidence) -> Verdict:
    """Judge a claim: TRUE if all its comparisons hold, FALSE if one does not, else OPEN.

    A comparison holds if the whole 95 % interval (Student's t) of the mean paired difference over the blocks lies on the
    claimed side of the margin, and fails if all of it lies on the other side; there is no correction for many claims.

    "At its best weight" is cross-fitted, for the best of several weights on some blocks flatters itself on those: each block
    is scored at the weight that is best, by the first metric, on the mean of the other blocks. Of a row with one setting
    nothing is chosen. The metric "weight" is the weight that is best on each block alone. Cross-fitted values have no bias, but
    are not quite independent: where 4 weights are equally good, simulated normal values lie on a wrong side in 5 % (3
    blocks) to 7 % (6 blocks) of all cases instead of 2.5 %, without cross-fitting in 7 % to 9 %.

    Raises:
        KeyError: If a weight is named that the row was not measured at; configurations are checked for that before.
    """
    found = [_compare(check, evidence) for check in claim.checks]
    outcomes = [outcome for outcome, _ in found]
    holds = False if False in outcomes else None if None in outcomes else True
    return Verdict(claim.says, holds, tuple(reason for _, reason in found))


def _compare(check: ComparisonConfig, evidence: Evidence) -> tuple[bool | None, str]:
    """Whether a comparison holds, and why."""
    metric = check.metric or evidence.first
    row, than = (_side(evidence, name, metric, at) for name, at in ((check.row, check.at), (check.than, check.than_at)))
    means = f"{metric}: {row.name} {fmean(row.values):.4g}, {than.name} {fmean(than.values):.4g}"
    if len(row.values) < 2:
        return None, f"{means}; nothing follows from a single block of seeds"
    gap = paired_difference(than.values, row.values)
    half = student(gap.degrees) * gap.se
    low, high = gap.mean - half, gap.mean + half
    outcome = _outcome(check, low, high)
    interval = f"difference {gap.mean:+.4g}, 95 % interval {low:+.4g} to {high:+.4g}"
    return outcome, f"{means}; {interval}; {_claimed(check)}: {_WORDS[outcome].lower()}"


def _outcome(check: ComparisonConfig, low: float, high: float) -> bool | None:
    """Whether an interval of differences lies on the claimed side (True), on the other one (False), or on both."""
    margin = check.margin
    if check.relation == "higher":
        low, high = -high, -low
    if check.relation != "same":
        return True if high < -margin else False if low >= -margin else None
    return True if -margin < low and high < margin else False if low > margin or high < -margin else None


def _claimed(check: ComparisonConfig) -> str:
    if check.relation == "same":
        return f"claimed the same within {check.margin:g}"
    if check.margin < 0:
        return f"claimed {check.relation}, or at most {-check.margin:g} on the other side"
    return f"claimed {check.relation}" + (f" by more than {check.margin:g}" if check.margin else "")


def _side(evidence: Evidence, row: str, metric: str, at: float | None) -> _Side:
    """The values of a row by block, at a weight or at its best one."""
    deciding, lower = evidence.look_up(row, evidence.first), evidence.lower_is_better
    blocks = range(len(deciding[0][1]))
    if metric == WEIGHT:
        return _Side([deciding[_best(deciding, [block], lower)][0] for block in blocks], f"best weight of {row}")
    wanted = [i for i, (weight, _) in enumerate(deciding) if at is None or weight == at]
    if not wanted:
        raise KeyError(f"row {row!r} was not measured at weight {at}")
    chosen = [wanted[i] for i in _cross_fitted([deciding[i] for i in wanted], lower)]
    measured = evidence.look_up(row, metric)
    weights = ", ".join(f"{weight:g}" for weight in sorted({deciding[i][0] for i in chosen}))
    return _Side([measured[i][1][block] for i, block in zip(chosen, blocks, strict=True)], f"{row} (w = {weights})")


def _cross_fitted(settings: Sequence[tuple[float, Values]], lower: bool) -> list[int]:
    """For every block the place of the setting that is best on the others; of a single block, on itself."""
    blocks = range(len(settings[0][1]))
    return [_best(settings, [b for b in blocks if b != block] or [block], lower) for block in blocks]


def _best(settings: Sequence[tuple[float, Values]], blocks: Sequence[int], lower: bool) -> int:
    """Place of the setting with the best mean over some blocks."""
    means = [fmean(values[block] for block in blocks) for _, values in settings]
    return means.index(min(means) if lower else max(means))
