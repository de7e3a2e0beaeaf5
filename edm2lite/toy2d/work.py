"""Jobs spread over processes, each with one thread; what is finished stays on disk."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from typing import Any

import torch

from edm2lite.errors import UserError
from edm2lite.evaluation.detectors.small import one_thread
from edm2lite.evaluation.score import Score
from edm2lite.evaluation.tables.ledger import Ledger
from edm2lite.pool import processes
from edm2lite.progress import progress_bar
from edm2lite.toy2d.jobs import Job, forget_weights

Measure = Callable[[Job], dict[str, float]]


def measure_all(
    jobs: Sequence[Job], ledger: Ledger, workers: int, title: str, measure: Measure
) -> list[dict[str, float]]:
    """The metrics of each job: found in the ledger, or measured and put there.

    Args:
        jobs: All of equally many points.
        ledger: Where finished jobs are kept.
        workers: Processes; 1: this one.
        title: Of the progress bar.
        measure: What is done, a function that other processes can import.

    Raises:
        UserError: If a worker was killed, a model was trained on meanwhile, or what the ledger holds is damaged.
    """
    keys = [_key(job, measure) for job in jobs]
    found = [ledger.get(key) for key in keys]
    missing = [i for i, score in enumerate(found) if score is None]
    size = jobs[0].num_points if jobs else 0
    with progress_bar(len(jobs) * size, title, initial=(len(jobs) - len(missing)) * size, unit="point") as bar:
        for i, values in _spread(measure, [(jobs[i], keys[i]) for i in missing], workers):
            score = Score(value=next(iter(values.values())), num_images=size, details=values)
            ledger.put(keys[missing[i]], score)
            found[missing[i]] = score
            bar.update(size)
    return [score.details for score in found if score is not None]


def _key(job: Job, measure: Measure) -> dict[str, Any]:
    """What the ledger keeps the metrics of a job under."""
    return {**job.identity(), "measured": measure.__name__}


def _measured(measure: Measure, job: Job, key: dict[str, Any]) -> dict[str, float]:
    """The metrics of a job, of the very weights that its key says."""
    values = measure(job)
    forget_weights()
    if _key(job, measure) != key:
        raise UserError(
            "a model was trained on while it was measured; run the same command again when its training is finished"
        )
    return values


def _spread(
    measure: Measure, jobs: Sequence[tuple[Job, dict[str, Any]]], workers: int
) -> Iterator[tuple[int, dict[str, float]]]:
    """Number and metrics of each job as it is finished."""
    if workers == 1 or len(jobs) < 2:
        with one_thread():
            for i, (job, key) in enumerate(jobs):
                yield i, _measured(measure, job, key)
        return
    with processes(min(workers, len(jobs)), _one_thread) as pool:
        waiting = {pool.submit(_measured, measure, job, key): i for i, (job, key) in enumerate(jobs)}
        for done in as_completed(waiting):
            yield waiting[done], done.result()


def _one_thread() -> None:
    torch.set_num_threads(1)
