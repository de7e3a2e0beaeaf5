"""The work of one process on a sweep: take a point that nobody has, score it, note it, until nothing is left."""

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Protocol

from tqdm import tqdm

from edm2lite.config import parse_metric
from edm2lite.config.cells import Cell, cell
from edm2lite.config.sweeps import SweepConfig
from edm2lite.errors import UserError
from edm2lite.evaluation.sweeps.identity import check_same, identity
from edm2lite.evaluation.sweeps.journal import Journal, without_details
from edm2lite.evaluation.sweeps.plan import Task, expected_images, fresh, rows, rungs, unfinished
from edm2lite.evaluation.sweeps.workers import Worker
from edm2lite.evaluation.tables.result import Result
from edm2lite.evaluation.tables.results import Table
from edm2lite.progress import progress_bar
from edm2lite.ranks import is_first_rank
from edm2lite.snapshots.fetch import resolve
from edm2lite.snapshots.posthoc import reconstruct_for

POLL_S = 1.0
_AHEAD = 16  # points whose models are reconstructed together: those of one run in one read


class Scores(Protocol):
    """What scores settings: `edm2lite.evaluation.tables.scorer.Scorer`."""

    def score(
        self, cell: Cell, first_seed: int, bar: tqdm | None = None, blocks: int | None = None, num_images: int | None = None
    ) -> Result: ...  # fmt: skip

    def table(self, results: list[Result]) -> Table: ...


def open_journal(cfg: SweepConfig, scorer: Scores, worker: Worker) -> Journal:
    """The journal of a sweep's folder.

    Raises:
        UserError: If the folder is another sweep's.
    """
    empty = scorer.table([])
    journal = Journal(cfg, parse_metric(empty.first).lower_is_better, worker)
    check_same(cfg.outdir, identity(cfg, empty.protocol), begun=journal.begun())
    return journal


def work(cfg: SweepConfig, scorer: Scores, journal: Journal) -> int:
    """Score points until the whole sweep is finished, by this worker and others; returns how many this one scored.

    Ended by an error, Ctrl-C or SIGTERM, the point at hand is free for others at once; what of its images was measured is kept.
    """
    done, me, metric = 0, journal.worker, scorer.table([]).first
    prepare = _Preparation(cfg)
    with _terminated_is_interrupted(), _bar(cfg, journal) as bar:
        while tasks := unfinished(cfg, journal.look, me.index):
            _show(bar, cfg, journal, tasks)
            free = [task for task in tasks if task.point not in journal.look(task.stage).running]
            if not free:
                time.sleep(POLL_S)
                continue
            task = free[len(free) * me.index // me.count]  # workers begin apart, where other models are
            number = journal.claim(task)
            if number is None:
                continue
            try:
                prepare([task, *(other for other in free if other != task)])
                result = _score(cfg, scorer, task, bar)
                _check_finite(task, result.mean(metric))
                journal.tell(task.stage, number, without_details(result), result.mean(metric))
            except BaseException as e:
                journal.give_up(task.stage, number, f"ended by {type(e).__name__}")
                raise
            done += 1
        _show(bar, cfg, journal, [])
    return done


def _score(cfg: SweepConfig, scorer: Scores, task: Task, bar: tqdm) -> Result:
    stage = task.stage
    return scorer.score(setting(cfg, task), stage.first_seed, bar, blocks=stage.blocks, num_images=stage.images)


def setting(cfg: SweepConfig, task: Task) -> Cell:
    """The models and the guidance of a task."""
    table, point = cfg.table(), task.point
    row = next(row for row in table.rows if row.name == task.stage.row)
    return cell(table, row, point.main_ema, point.guide_ema, point.guide_nimg, point.weight)


def _check_finite(task: Task, value: float) -> None:
    if not math.isfinite(value):
        raise UserError(f"{task.stage.name}: the score of {task.point} is {value}; look at the models and the metric")


class _Preparation:
    """Reconstructs the EMA lengths of the next points, each once."""

    def __init__(self, cfg: SweepConfig):
        self.cfg, self._ready = cfg, set[object]()

    def __call__(self, tasks: Sequence[Task]) -> None:
        refs = {(r.path, r.nimg, r.ema): r for task in tasks[:_AHEAD] for _, r in setting(self.cfg, task).parts}
        if refs.keys() - self._ready:
            reconstruct_for(resolve(ref, self.cfg.models) for ref in refs.values())
            self._ready |= refs.keys()


def _bar(cfg: SweepConfig, journal: Journal) -> tqdm:
    return progress_bar(0, cfg.title, initial=_images_done(cfg, journal), disable=not is_first_rank())


def _images_done(cfg: SweepConfig, journal: Journal) -> int:
    """By all workers."""
    stages = [stage for row in rows(cfg) for stage in (*rungs(cfg, row), fresh(cfg, row))]
    return sum(len(journal.look(stage).ranks) * stage.size for stage in stages)


def _show(bar: tqdm, cfg: SweepConfig, journal: Journal, tasks: Sequence[Task]) -> None:
    """Images of all workers; the best of the stage at hand. Local searches and promotions move the end."""
    bar.n = _images_done(cfg, journal)
    bar.total = max(bar.n, expected_images(cfg, journal.look, tasks))
    if tasks and (ranks := journal.look(tasks[0].stage).ranks):
        best = min(ranks.values()) * journal.sign
        bar.set_postfix_str(f"{tasks[0].stage.row}, {tasks[0].stage.count} images: best {best:.4g}", refresh=False)
    bar.refresh()


@contextmanager
def _terminated_is_interrupted() -> Iterator[None]:
    """SIGTERM, which SLURM and a parent process send, ends the work as Ctrl-C does."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before: Callable | int | None = None
    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def folder_of_workers(cfg: SweepConfig) -> Path:
    """Where the workers of a sweep keep their files."""
    return Path(cfg.outdir) / "workers"
