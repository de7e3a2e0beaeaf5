"""What to submit for a sweep: missing trainings and reference, workers on one journal, the outcome. Imports no torch."""

from collections.abc import Sequence

from edm2lite.cli import EVALUATE, parse
from edm2lite.config.sweeps import SweepConfig, models_of
from edm2lite.errors import UserError
from edm2lite.launch.jobs import Job
from edm2lite.launch.submit import reference_jobs
from edm2lite.launch.trainings import training_jobs


def sweep_jobs(path: str, options: Sequence[str] = (), *, workers: int) -> list[Job]:
    """Jobs that search: the missing trainings and reference, the workers, and one that finds the outcome or completes it.

    Args:
        path: The sweep's YAML.
        options: Further options of evaluate.py sweep.
        workers: Jobs that share the points.

    Raises:
        UserError: If a model exists neither as a file nor as a configuration that trains it, or the reference is missing and
            nothing says of which dataset to make it.
    """
    command = ("sweep", "-c", path, *options)
    cfg: SweepConfig = parse("evaluate.py sweep", EVALUATE["sweep"], command[1:])
    if workers < 1 or cfg.devices != 1:
        raise UserError(
            f"the number of workers is {workers} and devices {cfg.devices}; give a positive number of workers, each a job with "
            "one device, and leave devices out"
        )
    gpus, name = int(cfg.device != "cpu"), f"workers:{cfg.outdir}"
    models = [ref for _, ref in models_of(cfg)]
    jobs = training_jobs(models[0], models, cfg.models) + reference_jobs(cfg.table(), path, gpus)
    after = tuple(job.name for job in jobs)
    jobs.append(Job(name=name, kind="evaluate", arguments=command, gpus=gpus, array=workers, after=after))
    jobs.append(Job(name=f"sweep:{cfg.outdir}", kind="evaluate", arguments=command, gpus=gpus, after=(name,)))
    return jobs
