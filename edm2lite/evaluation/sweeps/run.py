"""The command `sweep`: this process as one worker of a sweep, or several workers on this machine."""

from edm2lite.config.sweeps import SweepConfig
from edm2lite.evaluation.sweeps.outcome import conclude
from edm2lite.evaluation.sweeps.search import Scores, folder_of_workers, open_journal, work
from edm2lite.evaluation.sweeps.workers import Worker
from edm2lite.evaluation.tables.scorer import Scorer


def run_sweep(cfg: SweepConfig) -> None:
    """Work on a sweep until it is finished, then write and print its outcome.

    Raises:
        UserError: If the folder is another sweep's, or a score cannot be computed. What was finished is kept.
    """
    take_part(cfg, Scorer(cfg.table()))


def take_part(cfg: SweepConfig, scorer: Scores) -> int:
    """The same with any scorer; returns how many points this worker scored."""
    with Worker(folder_of_workers(cfg)) as worker:
        journal = open_journal(cfg, scorer, worker)
        done = work(cfg, scorer, journal)
        conclude(cfg, scorer, journal, again=done == 0)
    return done
