"""The stages of a sweep and what is to be done next: screening, promotion, the finalists, the winners on fresh seeds.

Imports no torch.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from edm2lite.config.sweeps import ALONE, SWEEP, SweepConfig, SweepPoint
from edm2lite.evaluation.sweeps.space import Space, alone_space, guided_space
from edm2lite.evaluation.sweeps.strategies import unscored


@dataclass(frozen=True)
class Stage:
    """Scores that may be compared: of one row, on the same seeds.

    Attributes:
        row: Which row of the table: "sweep" or "main alone".
        images, blocks, first_seed: Blocks of images, and where their seeds begin.
    """

    row: str
    images: int
    blocks: int
    first_seed: int

    @property
    def size(self) -> int:
        """Images of a point, in all blocks."""
        return self.blocks * self.images

    @property
    def count(self) -> str:
        """For people: "3 x 5000"."""
        return f"{self.blocks} x {self.images}" if self.blocks > 1 else str(self.images)

    @property
    def name(self) -> str:
        return f"{self.row}, {self.count} images from seed {self.first_seed}"


@dataclass(frozen=True)
class Held:
    """What is known of a stage: the ranks of points (lower is better), and the points that somebody is at."""

    ranks: Mapping[SweepPoint, float] = field(default_factory=dict)
    running: Collection[SweepPoint] = ()


@dataclass(frozen=True)
class Task:
    """A point to be scored in a stage."""

    stage: Stage
    point: SweepPoint


Look = Callable[[Stage], Held]


def rows(cfg: SweepConfig) -> tuple[str, ...]:
    """The rows of a sweep's table."""
    return (ALONE, SWEEP) if cfg.alone else (SWEEP,)


def space_of(cfg: SweepConfig, row: str) -> Space:
    """Where the best of a row is sought."""
    return alone_space(cfg) if row == ALONE else guided_space(cfg)


def rungs(cfg: SweepConfig, row: str) -> tuple[Stage, ...]:
    """The stages of the search; the last has the full size, and blocks."""
    early = (Stage(row, images, 1, cfg.first_seed) for images in cfg.rungs[:-1])
    return (*early, Stage(row, cfg.rungs[-1], cfg.blocks, cfg.first_seed))


def fresh(cfg: SweepConfig, row: str) -> Stage:
    """The stage that confirms a winner: as large as the last rung, on seeds the search never used."""
    return Stage(row, cfg.rungs[-1], cfg.blocks, cfg.fresh_seed)


def promoted(cfg: SweepConfig, ranks: Mapping[SweepPoint, float]) -> list[SweepPoint]:
    """The points that go on to the next rung, the best first."""
    return sorted(ranks, key=lambda point: ranks[point])[: number_promoted(cfg, len(ranks))]


def number_promoted(cfg: SweepConfig, points: int) -> int:
    """How many of so many points go on: the part `promote`, rounded up, but `finalists` at least."""
    return min(points, max(cfg.finalists, math.ceil(cfg.promote * points - 1e-9)))


def finalists(cfg: SweepConfig, row: str, look: Look) -> dict[SweepPoint, float]:
    """The points that came to the last rung, with their ranks there, the best first, once the search is over."""
    stages = rungs(cfg, row)
    ranks = dict(look(stages[0]).ranks)
    for stage in stages[1:]:
        known = look(stage).ranks
        chosen = promoted(cfg, ranks)
        if not chosen or any(point not in known for point in chosen):
            return {}
        ranks = {point: known[point] for point in chosen}
    return dict(sorted(ranks.items(), key=lambda item: item[1]))


def unfinished(cfg: SweepConfig, look: Look, worker: int = 0) -> list[Task]:
    """Everything that can be done now, or is being done; empty: the sweep is finished.

    Args:
        cfg: The sweep.
        look: Tells what is known of a stage.
        worker: Number of this worker; see `unscored`.
    """
    return [task for row in rows(cfg) for task in _unfinished_row(cfg, row, look, worker)]


def _unfinished_row(cfg: SweepConfig, row: str, look: Look, worker: int) -> list[Task]:
    stages = rungs(cfg, row)
    first = look(stages[0])
    if points := unscored(cfg, space_of(cfg, row), first.ranks, first.running, worker):
        return [Task(stages[0], point) for point in points]
    ranks = dict(first.ranks)
    for stage in stages[1:]:
        chosen, known = promoted(cfg, ranks), look(stage).ranks
        if lacking := [point for point in chosen if point not in known]:
            return [Task(stage, point) for point in lacking]
        ranks = {point: known[point] for point in chosen}
    winner, last = min(ranks, key=lambda point: ranks[point]), fresh(cfg, row)
    return [Task(last, winner)] if cfg.confirm and winner not in look(last).ranks else []


def expected_images(cfg: SweepConfig, look: Look, tasks: Collection[Task]) -> int:
    """Images of the whole sweep, as far as can be told: a local search does not know how far it will go."""
    total = 0
    for row in rows(cfg):
        stages = rungs(cfg, row)
        points = len(look(stages[0]).ranks.keys() | {task.point for task in tasks if task.stage == stages[0]})
        if row == SWEEP and cfg.search == "tpe":
            points = max(points, cfg.trials or 0)
        for i, stage in enumerate(stages):
            points = number_promoted(cfg, points) if i else points
            total += points * stage.size
        total += fresh(cfg, row).size * cfg.confirm
    return total
