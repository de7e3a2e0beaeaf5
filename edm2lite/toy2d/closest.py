"""Which setting comes closest to the exact distribution, found without flattering it."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from edm2lite.config import Toy2dMeasureConfig
from edm2lite.evaluation.metrics.uncertainty import paired_difference, student
from edm2lite.evaluation.tables.result import Result
from edm2lite.toy2d.models import is_exact
from edm2lite.toy2d.scores import Setting, exact_kls, score

DISTANCES = ("kl", "reverse_kl", "energy")


@dataclass(frozen=True, kw_only=True)
class Closest:
    """The closest setting by one distance. The best of many on the same blocks looks better than it is.

    Attributes:
        metric: The distance.
        best: The setting with the lowest mean over the blocks: too low a value.
        chosen: For every block the setting that is lowest on the mean of the others.
        values: Of those, on their blocks: without that bias.
        fresh: `best` again, on blocks of fresh seeds: without it, too.
        fresh_alone: The main model alone on these, at its best by this metric in the table; None: no row has it alone.
        fresh_truth: True points.
        exact: For KL, where the sampler is deterministic: its exact value and standard error by what was sampled, `best` and
            `alone`, on the first fresh block.
    """

    metric: str
    best: Result
    chosen: tuple[str, ...]
    values: tuple[float, ...]
    fresh: Result
    fresh_alone: Result | None
    fresh_truth: Result
    exact: dict[str, dict[str, float]]

    def __str__(self) -> str:
        m = self.metric
        text = (
            f"{m}: {self.best.setting}: {self.best.mean(m):.4g} in the table, best of all; chosen on the other blocks "
            f"{fmean(self.values):.4g} ({' or '.join(dict.fromkeys(self.chosen))}); on fresh seeds {self.fresh.mean(m):.4g}, "
            f"true points {self.fresh_truth.mean(m):.4g}"
        )
        if self.fresh_alone is not None:
            gap = paired_difference(self.fresh_alone.values(m), self.fresh.values(m))
            half = student(gap.degrees) * gap.se
            text += f", alone {self.fresh_alone.mean(m):.4g}, difference {gap.mean:+.4g} +- {half:.2g} (95 %)"
        for name, r in (("best", self.fresh), ("alone", self.fresh_alone)):
            if r is not None and name in self.exact:
                kl, se = self.exact[name]["kl"], self.exact[name]["se"]
                text += f"; {name}, first fresh block: exactly {kl:.4g} +- {se:.2g}, by neighbours {r.values(m)[0]:.4g}"
        return text


def find_closest(cfg: Toy2dMeasureConfig, settings: Sequence[Setting], results: Sequence[Result]) -> list[Closest]:
    """The closest setting by each of `DISTANCES`, of all whose main model is a trained one, and its score on fresh seeds."""
    tried = [i for i, s in enumerate(settings) if s is not None and not is_exact(s.main.path)]
    if not tried:
        return []
    best, alone = _best(results, tried), _best(results, [i for i in tried if _is_alone(settings[i])])
    again = sorted({*best.values(), *alone.values()})
    first_seed = cfg.first_seed + cfg.blocks * cfg.num_points
    truth, *found = score(cfg, [None, *(settings[i] for i in again)], first_seed, f"{cfg.title}, fresh seeds")
    fresh = dict(zip(again, found, strict=True))
    exact = _exact(
        cfg, {name: settings[own["kl"]] for name, own in (("best", best), ("alone", alone)) if own}, first_seed
    )
    return [
        Closest(
            metric=metric, best=results[i], fresh=fresh[i], fresh_alone=fresh[alone[metric]] if alone else None,
            fresh_truth=truth, exact=exact if metric == "kl" else {},
            **_cross_fitted([results[j] for j in tried], metric),
        )
        for metric, i in best.items()
    ]  # fmt: skip


def _best(results: Sequence[Result], among: Sequence[int]) -> dict[str, int]:
    """By each of `DISTANCES` the place of the closest of some results; {}: there are none."""
    return {metric: min(among, key=lambda i: results[i].mean(metric)) for metric in DISTANCES} if among else {}


def _exact(cfg: Toy2dMeasureConfig, settings: dict[str, Setting], first_seed: int) -> dict[str, dict[str, float]]:
    """Exact KL by name, of those settings that map noise to points without further noise."""
    if cfg.sampler.S_churn or cfg.sampler.solver == "ancestral":
        return {}
    smooth = {
        name: s
        for name, s in settings.items()
        if s is not None and not any(ref.input_noise for ref in (s.main, *s.guides))
    }
    return dict(zip(smooth, exact_kls(cfg, list(smooth.values()), first_seed, f"{cfg.title}, exact KL"), strict=True))


def _is_alone(setting: Setting) -> bool:
    return setting is not None and setting.row.alone and not setting.main.degradations


def _cross_fitted(results: Sequence[Result], metric: str) -> dict[str, tuple]:
    """`chosen` and `values`."""
    values = [r.values(metric) for r in results]
    chosen = []
    for block in range(len(values[0])):
        means = [fmean([*own[:block], *own[block + 1 :]]) for own in values]
        chosen.append((block, means.index(min(means))))
    return {
        "chosen": tuple(results[i].setting for _, i in chosen),
        "values": tuple(values[i][block] for block, i in chosen),
    }
