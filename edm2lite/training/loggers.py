"""Loggers: a CSV file that survives resuming, and the optional TensorBoard and W&B."""

import csv
import hashlib
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from edm2lite.config import LoggingConfig
from edm2lite.data.sheets import to_picture
from edm2lite.errors import UserError
from edm2lite.files import write_text
from edm2lite.training.rundir import RunDir


class MetricsCSV(Logger):
    """One line a log step: nimg, then the metrics. On resume, lines later than the checkpoint are taken back.

    Lightning's CSVLogger deletes the file of a resumed run, hence this one.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path = path

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def keep_until(self, nimg: int) -> None:
        """Keep whole lines up to `nimg`; a process killed while writing may have left a torn one."""
        if not self.path.exists():
            return
        lines = [line for line in self.path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        if not lines or not lines[0].startswith("nimg,"):
            self.path.unlink()
            return
        columns = lines[0].count(",")
        rows = [line for line in lines[1:] if line.count(",") == columns and int(line.split(",")[0]) <= nimg]
        write_text(self.path, "".join([lines[0], *rows]))

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The run directory holds the configuration already."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        new = not self.path.exists()
        with open(self.path, "a", newline="") as f:
            writer = csv.writer(f)
            if new:
                writer.writerow(["nimg", *metrics])
            writer.writerow([step, *(f"{v:.6g}" for v in metrics.values())])


def make_loggers(cfg: LoggingConfig, run: RunDir, hyperparameters: dict[str, Any]) -> list[Logger]:
    """The CSV file always; TensorBoard and W&B (offline unless asked to go online) as configured.

    Raises:
        UserError: If a logger's package is not installed; says which extra brings it.
    """
    loggers: list[Logger] = [MetricsCSV(run.metrics)]
    try:
        if cfg.tensorboard:
            loggers.append(TensorBoardLogger(run.path, name="tensorboard", version=""))
        if cfg.wandb != "off":
            wandb = WandbLogger(
                project=cfg.wandb_project,
                name=run.path.name,
                save_dir=str(run.path),
                offline=cfg.wandb == "offline",
                id=hashlib.sha256(str(run.path.resolve()).encode()).hexdigest()[:16],
                resume="allow",
            )
            wandb.log_hyperparams(hyperparameters)
            loggers.append(wandb)
    except ModuleNotFoundError as e:
        extra = "wandb" if "wandb" in str(e) else "tensorboard"
        raise UserError(
            f"logging.{extra} needs a package that is not installed: pip install 'edm2lite[{extra}]'"
        ) from e
    return loggers


def log_sight(loggers: Sequence[Logger], numbers: dict[str, float], sheet: np.ndarray | None, nimg: int) -> None:
    """Send what a look at the run showed to TensorBoard and W&B: numbers by name, and a sheet, uint8 [C, H, W]."""
    for logger in loggers:
        if not isinstance(logger, MetricsCSV):
            logger.log_metrics({f"watch/{name}": value for name, value in numbers.items()}, step=nimg)
        if sheet is not None and isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image("watch/sheet", sheet, nimg)
        if sheet is not None and isinstance(logger, WandbLogger):
            logger.log_image("watch/sheet", [to_picture(sheet)], step=nimg)
