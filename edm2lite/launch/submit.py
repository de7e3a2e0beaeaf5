"""What to submit: a training, images and their metrics, or a whole table or search with all it needs. Imports no torch.

Called by the scripts in slurm/ as `python -m edm2lite.launch.submit {train,images,table,sweep}`.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from edm2lite.cli import EVALUATE, SAMPLE, TRAIN, parse
from edm2lite.config import DataConfig, SampleConfig, TableConfig, all_guides, parse_seeds
from edm2lite.config.cells import cells
from edm2lite.errors import UserError
from edm2lite.launch.jobs import TASK, Job, submit
from edm2lite.launch.trainings import find_training, training_job, training_jobs
from edm2lite.sampling.preflight import check_reference_exists, preflight


def train_jobs(config: str, options: Sequence[str] = ()) -> list[Job]:
    """The job of a training, from its YAML and further options of train.py."""
    return [training_job(config, tuple(options), parse("train.py", TRAIN["train"], ["-c", config, *options]))]


def image_jobs(options: Sequence[str], *, shards: int, ref: str | None = None, train: bool = False) -> list[Job]:
    """Jobs that sample in shards and score the images.

    Args:
        options: Of sample.py.
        shards: Jobs that share the seeds.
        ref: Reference statistics; None: the images are not scored.
        train: Also train the models that are missing.

    Raises:
        UserError: If anything about the options is wrong that can be known before the jobs run.
    """
    cfg: SampleConfig = parse("sample.py", SAMPLE["sample"], options)
    if shards < 1 or cfg.shard is not None:
        raise UserError(f"--shards is {shards}, sample.py's shard {cfg.shard}; give a positive --shards and no --shard")
    jobs: list[Job] = []
    if train:
        parse_seeds(cfg.seeds)
        jobs = training_jobs(
            cfg.main, [*all_guides(cfg.guide, cfg.guidance), cfg.guidance.classifier.model], cfg.models
        )
    else:
        preflight(cfg.main, cfg.guide, cfg.guidance, cfg.seeds, models=cfg.models)
    gpus, name = int(cfg.device != "cpu"), f"sample:{cfg.outdir}"
    after = tuple(job.name for job in jobs)
    jobs.append(Job(name=name, kind="sample", arguments=tuple(options), gpus=gpus, array=shards, after=after))
    if ref is not None:
        check_reference_exists(ref)
        score = ("metrics", f"--ref={ref}", f"--images={cfg.outdir}", f"--out={cfg.outdir}/metrics.json")
        jobs.append(Job(name=f"metrics:{cfg.outdir}", kind="evaluate", arguments=score, gpus=gpus, after=(name,)))
    return jobs


def table_jobs(path: str, options: Sequence[str] = ()) -> list[Job]:
    """Jobs that compute a table: the missing trainings and reference, each row, and the table itself.

    Args:
        path: The table's YAML.
        options: Further options of evaluate.py table.

    Raises:
        UserError: If a model exists neither as a file nor as a configuration that trains it, or the reference is missing and
            nothing says of which dataset to make it.
    """
    command = ("table", "-c", path, *options)
    cfg: TableConfig = parse("evaluate.py table", EVALUATE["table"], command[1:])
    if not cfg.rows or cfg.only_row is not None or cfg.shard is not None:
        raise UserError(f"{path} must have rows, no only_row and no shard; see configs/tables/digits.yaml")
    gpus, rows = cfg.devices * (cfg.device != "cpu"), f"rows:{cfg.outdir}"
    wanted = list(cells(cfg))
    jobs = training_jobs(wanted[0].main, [model for cell in wanted for _, model in cell.parts], cfg.models)
    jobs += reference_jobs(cfg, path, min(gpus, 1))
    after = tuple(job.name for job in jobs)
    one_row = (*command, f"--only_row={TASK}")
    jobs.append(Job(name=rows, kind="evaluate", arguments=one_row, gpus=gpus, array=len(cfg.rows), after=after))
    jobs.append(Job(name=f"table:{cfg.outdir}", kind="evaluate", arguments=command, gpus=gpus, after=(rows,)))
    return jobs


def reference_jobs(cfg: TableConfig, path: str, gpus: int) -> list[Job]:
    """The job that makes the reference statistics, if they are missing: of `ref_data`, or of the main model's bundled data."""
    if Path(cfg.ref).exists():
        return []
    data = cfg.ref_data or _bundled_data(cfg)
    if data is None:
        raise UserError(
            f"reference statistics {cfg.ref} do not exist; make them with: evaluate.py ref --out {cfg.ref} --data.path "
            f"DATASET, or add to {path}: ref_data: {{path: DATASET}}"
        )
    if data.path is not None and not Path(data.path).exists():
        raise UserError(
            f"reference statistics {cfg.ref} do not exist, nor does their dataset {data.path} (ref_data.path); make it with "
            "edm2lite data convert, or name another"
        )
    named = [
        f"--data.{name}={value}" for name, value in (("path", data.path), ("name", data.name)) if value is not None
    ]
    detectors = list(dict.fromkeys(m.detector for m in cfg.parsed_metrics() if m.detector is not None))
    if detectors:
        named.append(f"--detectors={json.dumps(detectors)}")
    if cfg.detector_files:
        named.append(f"--detector_files={json.dumps(cfg.detector_files)}")
    arguments = ("ref", *named, f"--out={cfg.ref}")
    return [Job(name=f"ref:{cfg.ref}", kind="evaluate", arguments=arguments, gpus=gpus, once=True)]


def _bundled_data(cfg: TableConfig) -> DataConfig | None:
    """The bundled dataset that the main model is trained on; None: it is another one, or not known."""
    found = find_training(next(cells(cfg)).main.path)
    return DataConfig(name=found[1].data.name) if found is not None and found[1].data.path is None else None


class Parser(argparse.ArgumentParser):
    """One error line, as all our commands."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see --help")


def _parse_file(
    make: Callable[[str, Sequence[str]], list[Job]], name: str, argv: Sequence[str]
) -> tuple[list[Job], bool]:
    usage = f"slurm/submit_{name}.sh {name.upper()}.yaml [--dry-run] [further options of the {name} command]"
    parser = Parser(usage=usage, allow_abbrev=False)
    parser.add_argument("file", metavar=f"{name.upper()}.yaml", help="such as those in configs/")
    parser.add_argument("--dry-run", action="store_true", help="print the sbatch commands only")
    args, options = parser.parse_known_args(argv)
    return make(args.file, options), args.dry_run


def _parse_images(argv: Sequence[str]) -> tuple[list[Job], bool]:
    split = argv.index("--") if "--" in argv else len(argv)
    parser = Parser(usage="slurm/submit.sh [options] -- [options of sample.py]", allow_abbrev=False)
    parser.add_argument("--train", action="store_true", help="train the models that are missing, too")
    parser.add_argument("--shards", type=int, default=1, help="jobs that share the seeds")
    parser.add_argument("--ref", help="score the images against these reference statistics (.npz)")
    parser.add_argument("--dry-run", action="store_true", help="print the sbatch commands only")
    args = parser.parse_args(argv[:split])
    return image_jobs(argv[split + 1 :], shards=args.shards, ref=args.ref, train=args.train), args.dry_run


def _parse_sweep(argv: Sequence[str]) -> tuple[list[Job], bool]:
    from edm2lite.launch.sweeps import sweep_jobs  # which uses `reference_jobs` of this module

    usage = "slurm/submit_sweep.sh WORKERS SWEEP.yaml [--dry-run] [further options of the sweep command]"
    parser = Parser(usage=usage, allow_abbrev=False)
    parser.add_argument("workers", type=int, help="jobs that share the points")
    parser.add_argument("file", metavar="SWEEP.yaml", help="such as those in configs/sweeps/")
    parser.add_argument("--dry-run", action="store_true", help="print the sbatch commands only")
    args, options = parser.parse_known_args(argv)
    return sweep_jobs(args.file, options, workers=args.workers), args.dry_run


def main(argv: Sequence[str]) -> int:
    """Submit; returns the exit status."""
    parsers: dict[str, Callable[[Sequence[str]], tuple[list[Job], bool]]] = {
        "train": partial(_parse_file, train_jobs, "train"),
        "images": _parse_images,
        "table": partial(_parse_file, table_jobs, "table"),
        "sweep": _parse_sweep,
    }
    try:
        submit(*parsers[argv[0]](argv[1:]))
    except UserError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
