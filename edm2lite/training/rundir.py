"""The run directory: what lies where, and whether this command may continue what is there. Imports no torch.

config.yaml            the configuration, as it was when the run began
metrics.csv            the log
checkpoints/*          the two newest states to resume from
snapshots/*            128Mi-ema0.05.safetensors ...: averaged weights over time
watch/*, watch.csv     sheets of images and numbers of looks at the run on the way
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from edm2lite.config import ModelRef, Nimg, Toy2dTrainConfig, TrainConfig, plain
from edm2lite.errors import UserError
from edm2lite.files import write_text
from edm2lite.ranks import rank_from_environment
from edm2lite.snapshots.index import check_model
from edm2lite.training.lock import check_unlocked
from edm2lite.training.slurm import check_tasks

# What may differ between a run and its continuation, because the result does not depend on it.
_FREE = {"run_dir", "estimate", "find_batch", "trainer", "logging", "watch"}
_FREE |= {"data.num_workers", "data.path", "training.total_nimg"}
_FREE |= {"training.batch_per_device", "training.activation_checkpointing", "training.attention"}
_FREE |= {"training.checkpoint_nimg", "training.snapshot_nimg", "training.nonfinite_gradients", "training.loss_scaling"}


class RunDir:
    """Paths of one training run."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.config, self.metrics = self.path / "config.yaml", self.path / "metrics.csv"
        self.checkpoints, self.snapshots = self.path / "checkpoints", self.path / "snapshots"
        self.watch, self.watch_log = self.path / "watch", self.path / "watch.csv"

    def checkpoint(self, nimg: int) -> Path:
        """Where the checkpoint at `nimg` lies."""
        return self.checkpoints / f"{Nimg(nimg)}.safetensors"

    def list_checkpoints(self) -> list[Path]:
        """Checkpoints, the newest first."""
        return sorted(self.checkpoints.glob("[!.]*.safetensors"), key=lambda path: Nimg(path.stem), reverse=True)

    @property
    def started(self) -> bool:
        """Whether there is anything to continue: a run that died before its first snapshot or checkpoint binds nobody."""
        return self.config.exists() and any(any(d.glob("[!.]*")) for d in (self.checkpoints, self.snapshots))

    def begin(self, cfg: TrainConfig | Toy2dTrainConfig) -> None:
        """Write the configuration of a new run (that of an old one stays); clear what a killed process left half-written."""
        for folder in (self.checkpoints, self.snapshots, self.watch):
            for leftover in folder.glob(".*.tmp"):
                leftover.unlink(missing_ok=True)
        if not self.started:
            write_text(self.config, yaml.safe_dump(plain(asdict(cfg)), sort_keys=False))

    def check(self, cfg: TrainConfig | Toy2dTrainConfig) -> None:
        """Raise a UserError, naming the setting and both values, if the directory holds a run that `cfg` does not continue."""
        if not self.started:
            return
        old = _flatten(yaml.safe_load(self.config.read_text()))
        old = _flatten(plain(asdict(type(cfg)()))) | old  # a setting that is younger than the run had its default
        for key, value in _flatten(plain(asdict(cfg))).items():
            if key.split(".")[0] not in _FREE and key not in _FREE and old.get(key) != value:
                raise UserError(
                    f"{self.path} holds a run with {key} = {old.get(key)}, but this command sets {value}; "
                    f"continue with the same value, or choose another --run_dir"
                )


def preflight(cfg: TrainConfig) -> None:
    """Check what can be checked before the slow imports.

    Raises:
        UserError: If the dataset is unknown, the batch does not divide over the devices, or the run directory holds
            a different run.
    """
    from edm2lite.data.datasets import check_dataset

    check_dataset(cfg.data)
    check_tasks(cfg.trainer)
    check_batch(cfg)
    if cfg.init_from is not None and not RunDir(cfg.run_dir).started:
        check_model(ModelRef(path=cfg.init_from), "init_from")
    RunDir(cfg.run_dir).check(cfg)
    if cfg.trainer.lock:
        check_unlocked(Path(cfg.run_dir))


def check_batch(cfg: TrainConfig) -> int:
    """The number of devices; a UserError unless the batch divides over them."""
    ranks = cfg.trainer.devices * cfg.trainer.num_nodes
    if cfg.training.batch_size % ranks:
        raise UserError(
            f"training.batch_size {cfg.training.batch_size} does not divide over {ranks} devices "
            f"(trainer.devices x trainer.num_nodes); choose a multiple of {ranks}, or a number of devices that divides it"
        )
    return ranks


def finished(cfg: TrainConfig) -> bool:
    """Whether the run has reached its total; if so, says so. Not for several ranks: they find out together."""
    run = RunDir(cfg.run_dir)
    if rank_from_environment().count > 1:
        return False
    newest = [Nimg(path.stem) for path in run.list_checkpoints()[:1]]
    if not newest or newest[0] < cfg.training.total_nimg:
        return False
    print(f"{run.path}: finished at nimg {newest[0]}; nothing to do. To train longer, raise training.total_nimg")
    return True


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
