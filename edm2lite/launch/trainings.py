"""Which trainings make the models that are wanted: found by their run_dir below configs/. Imports no torch."""

from collections.abc import Sequence
from pathlib import Path

import yaml

import edm2lite
from edm2lite.cli import TRAIN, parse
from edm2lite.config import ModelRef, TrainConfig
from edm2lite.errors import UserError
from edm2lite.launch.jobs import Job
from edm2lite.snapshots.download import is_url
from edm2lite.snapshots.fetch import resolve
from edm2lite.snapshots.index import check_model, stored_snapshots
from edm2lite.snapshots.published import SCHEME


def training_jobs(main: ModelRef, guides: Sequence[ModelRef], models: str | None = None) -> list[Job]:
    """One job for every run that has not yet come to the snapshots that the models name; a guide may name nothing.

    Args:
        main, guides: The models.
        models: Folder of published models, for those named nvidia:...

    Raises:
        UserError: If a model is not there and no configuration trains it, or not to that snapshot.
    """
    if main.path is None:
        check_model(main, "main")
    jobs: dict[str, Job] = {}
    wanted = {(model.path, model.nimg, model.ema): model for model in (main, *guides) if model.path is not None}
    trainings = {path: None if _is_remote(path) else find_training(path) for path, _, _ in wanted}
    for (path, _, _), model in wanted.items():
        found = trainings[path]
        if found is None:
            _check_there(model, models)
        elif not _has(model, found[1].training.total_nimg):
            _check_planned(model, *found)
            jobs[found[1].run_dir] = training_job(str(found[0]), (), found[1])
    return list(jobs.values())


def _is_remote(path: str) -> bool:
    return is_url(path) or path.startswith(SCHEME)


def training_job(config: str, options: tuple[str, ...], cfg: TrainConfig) -> Job:
    """The job of one training, on the nodes and devices of its trainer section."""
    gpus = 0 if cfg.trainer.accelerator == "cpu" else cfg.trainer.devices
    return Job(
        name=f"train:{cfg.run_dir}", kind="train", arguments=(config, *options), gpus=gpus, nodes=cfg.trainer.num_nodes,
        tasks=cfg.trainer.devices, once=True,
    )  # fmt: skip


def find_training(run_dir: str | None) -> tuple[Path, TrainConfig] | None:
    """The file below configs/ that trains this run directory, and what it says; None: there is none.

    Raises:
        UserError: If there are several.
    """
    roots = [root / "configs" for root in (Path(), *Path(edm2lite.__file__).parents[:2])]
    root = next((root for root in roots if root.is_dir()), None)
    if run_dir is None or root is None:
        return None
    found = [path for path in sorted(root.rglob("*.yaml")) if _same(_run_dir(path), run_dir)]
    if len(found) > 1:
        raise UserError(f"{run_dir} is the run_dir of {' and '.join(map(str, found))}; give each its own")
    return (found[0], parse("train.py", TRAIN["train"], ["-c", str(found[0])])) if found else None


def _run_dir(path: Path) -> str | None:
    """What a YAML file calls run_dir."""
    try:
        data = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError):
        return None
    return data.get("run_dir") if isinstance(data, dict) else None


def _same(a: str | None, b: str) -> bool:
    return a is not None and Path(a).resolve() == Path(b).resolve()


def _has(model: ModelRef, total_nimg: int) -> bool:
    """Whether a run has come to the snapshot that is named, or else to the end."""
    assert model.path is not None
    try:
        times = {snapshot.nimg for snapshot in stored_snapshots(model.path)}
    except UserError:
        return False
    return max(times) >= total_nimg if model.nimg is None else model.nimg in times


def _check_there(model: ModelRef, models: str | None) -> None:
    try:
        check_model(resolve(model, models), "the")
    except UserError as e:
        raise UserError(f"{e}; or give a training configuration below configs/ the run_dir {model.path}") from e


def _check_planned(model: ModelRef, path: Path, cfg: TrainConfig) -> None:
    """Raise a UserError if the training will never write the snapshot."""
    nimg, t = model.nimg, cfg.training
    if nimg is not None and nimg != t.total_nimg and (nimg > t.total_nimg or nimg % t.snapshot_nimg):
        raise UserError(
            f"{model.path} at nimg {nimg} is no snapshot that {path} will write; choose a multiple of its snapshot_nimg "
            f"{t.snapshot_nimg}, up to {t.total_nimg}"
        )
