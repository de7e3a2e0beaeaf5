"""What happens beside the steps: snapshots, checkpoints, log lines, progress bar."""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Callback, ProgressBar
from safetensors import SafetensorError
from torch import Tensor

from edm2lite.config import Nimg
from edm2lite.errors import UserError
from edm2lite.progress import progress_bar
from edm2lite.snapshots.files import SnapshotInfo, save_snapshot
from edm2lite.snapshots.index import snapshot_name
from edm2lite.training.checkpoint import collect, parts, write_checkpoint
from edm2lite.training.loggers import MetricsCSV
from edm2lite.training.module import EDM2Module
from edm2lite.training.rundir import RunDir
from edm2lite.training.together import on_rank_zero


class SnapshotWriter(Callback):
    """Writes every EMA profile each `every_nimg` images and at the end.

    Args:
        run: Run directory.
        info: What the snapshots are of, without nimg, sigma_rel and licence.
        every_nimg, total_nimg: Schedule, in images.
    """

    def __init__(self, run: RunDir, info: SnapshotInfo, every_nimg: int, total_nimg: int):
        self.run, self.info, self.every_nimg, self.total_nimg = run, info, every_nimg, total_nimg

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: object) -> None:
        assert isinstance(pl_module, EDM2Module)
        if due(pl_module.nimg, self.every_nimg, self.total_nimg):
            pl_module.settle()
            for sigma_rel in pl_module.ema.averages:
                self._write(trainer, pl_module, sigma_rel)

    def _write(self, trainer: L.Trainer, module: EDM2Module, sigma_rel: float) -> None:
        """One profile at a time, so that rank 0 holds no more than one whole model."""
        parameters = dict(module.net.named_parameters())
        averages = module.ema.named_average(sigma_rel).items()
        tensors = collect(((name, shard, parameters[name]) for name, shard in averages), trainer.is_global_zero)
        path = self.run.snapshots / snapshot_name(module.nimg, sigma_rel)
        info = replace(self.info.at(module.nimg, sigma_rel), licence=module.began.licence)
        buffers = dict(module.net.named_buffers())
        write_on_rank_zero(trainer, path, lambda: save_snapshot(path, tensors | buffers, info))


class CheckpointWriter(Callback):
    """Writes everything needed to resume, on schedule and when asked to stop; keeps the two newest, and none is written twice.

    Args:
        run: Run directory.
        every_nimg, total_nimg: Schedule, in images.

    Attributes:
        stopped_by: Signal that ended the training early; 0: none.
    """

    def __init__(self, run: RunDir, every_nimg: int, total_nimg: int):
        self.run = run
        self.every_nimg, self.total_nimg, self.stopped_by = every_nimg, total_nimg, 0
        self._newest = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, EDM2Module)
        self._newest = pl_module.nimg

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: object) -> None:
        assert isinstance(pl_module, EDM2Module)
        if pl_module.signum or due(pl_module.nimg, self.every_nimg, self.total_nimg):
            self.save(trainer, pl_module)

    def save(self, trainer: L.Trainer, module: EDM2Module, signum: int = 0) -> None:
        """Write the state of now; end the training if a signal (or `signum`) asks for it. All ranks, after the same step."""
        self.stopped_by = module.settle() or signum
        self._write(trainer, module)
        self._newest = module.nimg
        trainer.should_stop |= self.stopped_by != 0

    def _write(self, trainer: L.Trainer, module: EDM2Module) -> None:
        """All ranks take part. What is older than the newest goes first, the newest only after the next two are whole."""
        if self._newest == module.nimg:
            return
        info = replace(module.began, nimg=module.nimg, nonfinite_gradients=module.nonfinite_gradients)
        tensors = collect(parts(module.net, module.ema, trainer.optimizers[0]), trainer.is_global_zero)
        path = self.run.checkpoint(module.nimg)

        def write() -> None:
            for old in self.run.list_checkpoints()[1:]:
                old.unlink()
            write_checkpoint(path, tensors, info)

        write_on_rank_zero(trainer, path, write)


def write_on_rank_zero(trainer: L.Trainer, path: Path, write: Callable[[], None]) -> None:
    """Let rank 0 write a file; if it cannot, every rank raises the same UserError."""

    def attempt() -> None:
        try:
            write()
        except (OSError, SafetensorError) as e:
            raise UserError(
                f"cannot write {path}: {' '.join(str(e).split())[:150]}; what was written before is whole: make space, then "
                "run the same command"
            ) from e

    on_rank_zero(trainer, attempt)


class LogWriter(Callback):
    """Sends loss (mean an element), learning rate and speed to all loggers each `every_nimg` images, stamped by nimg.

    A classifier's accuracy, too: over the noise levels as they come.
    """

    def __init__(self, every_nimg: int, total_nimg: int):
        self.every_nimg, self.total_nimg = every_nimg, total_nimg
        self.steps, self.started = 0, 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, EDM2Module)
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV):
                logger.keep_until(pl_module.nimg)
        self._restart(pl_module)

    def _restart(self, pl_module: L.LightningModule) -> None:
        self.sums, self.steps, self.started = dict[str, Tensor](), 0, time.perf_counter()

    def leave_out(self, seconds: float) -> None:
        """Do not count time just spent on something else against the speed."""
        self.started += seconds

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: object) -> None:
        assert isinstance(pl_module, EDM2Module)
        for name, mean in pl_module.means.items():
            self.sums[name] = self.sums[name] + mean if name in self.sums else mean
        self.steps += 1
        nimg, batch_size = pl_module.nimg, pl_module.cfg.batch_size
        if nimg % self.every_nimg >= batch_size and nimg < self.total_nimg:
            return
        pl_module.settle()
        reduce = trainer.strategy.reduce
        metrics = {name: float(reduce(total / self.steps, reduce_op="mean")) for name, total in self.sums.items()} | {
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "img_per_s": self.steps * batch_size / (time.perf_counter() - self.started),
            "nonfinite_gradients": float(pl_module.nonfinite_gradients),
        }
        for logger in trainer.loggers:
            try:
                logger.log_metrics(metrics, step=nimg)
            except OSError as e:  # the training is worth more than a line of its log
                print(f"warning: a line of the log at nimg {nimg} is lost: {e}", file=sys.stderr)
        self._restart(pl_module)


class Progress(ProgressBar):
    """One bar over the whole run: nimg of total, images a second, time left, loss (of the step before), learning rate."""

    def __init__(self, total_nimg: int):
        super().__init__()
        self.total_nimg, self.enabled = total_nimg, True

    def disable(self) -> None:
        """Called by Lightning on every rank but the first."""
        self.enabled = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, EDM2Module)
        self.bar = progress_bar(self.total_nimg, "train", initial=pl_module.nimg, disable=not self.enabled)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: object) -> None:
        assert isinstance(pl_module, EDM2Module)
        if self.enabled:
            lr = trainer.optimizers[0].param_groups[0]["lr"]
            status = f"nimg {Nimg(pl_module.nimg)}/{Nimg(self.total_nimg)} loss {pl_module.loss:.4f} lr {lr:.2e}"
            self.bar.set_postfix_str(status, refresh=False)
        self.bar.update(pl_module.cfg.batch_size)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.bar.close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        if hasattr(self, "bar"):
            self.bar.close()


def due(nimg: int, every_nimg: int, total_nimg: int) -> bool:
    """Whether something that happens every so many images, and at the end, happens now."""
    return nimg % every_nimg == 0 or nimg >= total_nimg
