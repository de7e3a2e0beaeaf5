"""One scored setting, and what two of them say about guidance. Imports no torch."""

import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from edm2lite.config import parse_metric
from edm2lite.config.tables import VARIED
from edm2lite.evaluation.metrics.uncertainty import difference, statistically_tied, student
from edm2lite.evaluation.score import Score


@dataclass(frozen=True, kw_only=True)
class Result:
    """Scores of one setting by metric, one a block of seeds; `weight` is the value of what `vary` names.

    The blocks follow each other from `first_seed` on.
    """

    row: str
    main_ema: float | None
    guide_ema: float | None
    guide_nimg: int | None
    weight: float
    scores: dict[str, tuple[Score, ...]]
    vary: str = "weight"
    published: dict[str, float] = field(default_factory=dict)
    first_seed: int = 0

    @property
    def guided(self) -> bool:
        return self.weight != VARIED[self.vary]

    def values(self, metric: str) -> tuple[float, ...]:
        """A metric's values, one a block."""
        return tuple(score.value for score in self.scores[metric])

    def mean(self, metric: str) -> float:
        """Over the blocks."""
        return statistics.fmean(self.values(metric))

    def spread(self, metric: str) -> float | None:
        """Standard deviation over the blocks; None: there is but one."""
        values = self.values(metric)
        return statistics.stdev(values) if len(values) > 1 else None

    def se(self, metric: str) -> float | None:
        """Jackknife standard error of the mean over the blocks; None: the metric has none."""
        errors = [score.se for score in self.scores[metric] if score.se is not None]
        return math.hypot(*errors) / len(errors) if len(errors) == len(self.scores[metric]) else None

    def extrapolated(self, metric: str) -> float | None:
        """Mean over the blocks of the value for infinitely many images; None: the metric has none."""
        found = [score.extrapolated for score in self.scores[metric] if score.extrapolated is not None]
        return statistics.fmean(found) if len(found) == len(self.scores[metric]) else None

    def compared(self, metric: str) -> float:
        """What a published value is compared with: the papers give the minimum over the blocks for FID, single values else."""
        return min(self.values(metric)) if metric == "fid" else self.mean(metric)

    def blocks(self, metric: str) -> Mapping[Hashable, Score]:
        """A metric's scores by the first seed and the size of their block."""
        found: dict[Hashable, Score] = {}
        seed = self.first_seed
        for score in self.scores[metric]:
            found[seed, score.num_images] = score
            seed += score.num_images
        return found

    @property
    def setting(self) -> str:
        """For people: "earlier, EMA 0.1, guide EMA 0.05, w = 2"."""
        guide = f", guide EMA {ema_text(self.guide_ema)}" if self.guide_ema is not None else ""
        strength = f", {self.strength}" if self.guided else ""
        return f"{self.row}, EMA {ema_text(self.main_ema)}{guide}{strength}"

    @property
    def strength(self) -> str:
        """The weight for people: "w = 2", or "classifier 0.5"."""
        return f"w = {self.weight:g}" if self.vary == "weight" else f"{self.vary} {self.weight:g}"


def ema_text(sigma_rel: float | None) -> str:
    """An EMA length for people; "-" for none or unknown."""
    return "-" if sigma_rel is None else f"{sigma_rel:g}"


def rank(result: Result, metric: str) -> float:
    """The mean of a metric, negative where higher is better: lower ranks are better."""
    return result.mean(metric) if parse_metric(metric).lower_is_better else -result.mean(metric)


def best_of(results: Sequence[Result], metric: str) -> Result | None:
    """The best by a metric."""
    return min(results, key=lambda r: rank(r, metric), default=None)


def compare(where: str, unguided: Result, guided: Result, metric: str) -> str:
    """One line: both means, their difference, the larger of the two spreads, and what follows.

    As both are scored on the same seeds, the spread of their differences block by block is given, too. Of a single block there
    is no spread: the standard error of the difference takes its place. Nobody wins whom the marks of the table call tied.
    """
    gain, a, b = rank(unguided, metric) - rank(guided, metric), unguided.blocks(metric), guided.blocks(metric)
    means = " -> ".join(number(metric, r.mean(metric)) for r in (unguided, guided))
    line = f"{where}: {means}, gain {number(metric, gain)}"
    spreads = [s for s in (unguided.spread(metric), guided.spread(metric)) if s is not None]
    if len(spreads) == 2:
        gains = paired_gains(unguided, guided, metric)
        paired = f" (sd of paired differences {number(metric, statistics.stdev(gains))})" if len(gains) > 1 else ""
        word, tied = _word(gain, max(spreads), "spread"), statistically_tied(a, b)
        word = "no difference beyond chance (95 %, paired)" if tied and abs(gain) > max(spreads) else word
        return f"{line}{paired}, spread {number(metric, max(spreads))}: {word}"
    gap = difference(a, b)
    if gap is None:
        return f"{line}; nothing follows from one block without a standard error"
    word = _word(gain, student(gap.degrees) * gap.se, "error")
    return f"{line}, standard error of the gain {number(metric, gap.se)}: {word}"


def paired_gains(unguided: Result, guided: Result, metric: str) -> list[float]:
    """How much better the second is than the first, block by block, on the blocks of seeds they have in common."""
    a, b, sign = unguided.blocks(metric), guided.blocks(metric), 1 if parse_metric(metric).lower_is_better else -1
    return [sign * (a[key].value - b[key].value) for key in a if key in b]


def _word(gain: float, limit: float, what: str) -> str:
    return (
        "guidance wins" if gain > limit else "guidance loses" if gain < -limit else f"no difference beyond the {what}"
    )


def number(metric: str, value: float, sign: str = "") -> str:
    """A value for people: three digits after the point, five of kernel distances, which are small."""
    return format(value, f"{sign}.{5 if parse_metric(metric).kind == 'kd' else 3}f")
