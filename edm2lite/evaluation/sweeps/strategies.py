"""Which points to screen, from what is known so far. Imports no torch.

Each strategy is a function of the scores alone, so that any number of workers can follow it, and one that comes later goes on.
"""

import random
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cache

import optuna
from optuna.distributions import IntDistribution
from optuna.trial import TrialState, create_trial

from edm2lite.config.sweeps import SweepConfig, SweepPoint
from edm2lite.evaluation.sweeps import local
from edm2lite.evaluation.sweeps.space import Place, Space, guided_space, starts

_AXES = ("main_ema", "guide_nimg", "guide_ema", "weight")
_ASKS = 20


def unscored(
    cfg: SweepConfig, space: Space, ranks: Mapping[SweepPoint, float], running: Collection[SweepPoint], worker: int = 0
) -> list[SweepPoint]:
    """The points that are still to be screened, those that run already among them; empty: the search is over.

    The main alone has but one axis: random and tpe take all of it.

    Args:
        cfg: The strategy and its budget.
        space: Where to search.
        ranks: Scores so far, lower is better.
        running: Points that somebody is at.
        worker: Number of this worker, so that tpe does not tell all of them the same.
    """
    guided = space == guided_space(cfg)
    if cfg.search == "local":
        places = local.wanted(space.shape, starts(cfg, space), {space.place(p): rank for p, rank in ranks.items()})
        left = len(places) if cfg.trials is None or not guided else max(cfg.trials - len(ranks), 0)
        return [space.at(place) for place in places[:left]]
    if cfg.search == "tpe" and guided:
        assert cfg.trials is not None
        left = cfg.trials - len(ranks) - len(running)
        return [*running, *([suggest(cfg, space, ranks, running, worker)] if left > 0 else [])]
    chosen = space.points if cfg.search != "random" or not guided else _drawn(space, cfg.seed)[: cfg.trials]
    return [point for point in chosen if point not in ranks]


@cache
def _drawn(space: Space, seed: int) -> list[SweepPoint]:
    """All points in random order: a larger budget takes the same and some more."""
    points = list(space.points)
    random.Random(seed).shuffle(points)
    return points


def suggest(
    cfg: SweepConfig, space: Space, ranks: Mapping[SweepPoint, float], running: Collection[SweepPoint], worker: int
) -> SweepPoint:
    """A point that Optuna's TPE finds promising and that nobody has taken; if it repeats itself, one drawn at random.

    What runs counts as bad (constant liar), so that workers spread out.
    """
    seed = cfg.seed + 1000 * worker + len(ranks) + len(running)
    with quiet():
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        study = optuna.create_study(sampler=sampler)
    axes = {name: IntDistribution(0, n - 1) for name, n in zip(_AXES, space.shape, strict=True)}
    for point, rank in [*ranks.items(), *((point, None) for point in running)]:
        params = dict(zip(_AXES, space.place(point), strict=True))
        state = TrialState.RUNNING if rank is None else TrialState.COMPLETE
        study.add_trial(create_trial(state=state, value=rank, params=params, distributions=dict(axes)))
    for _ in range(_ASKS):
        place: Place = tuple(study.ask(dict(axes)).params[name] for name in _AXES)
        if (point := space.at(place)) not in ranks and point not in running:
            return point
    return next(point for point in _drawn(space, seed) if point not in ranks and point not in running)


@contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's news of every study, and without its warnings that options are experimental."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
