"""What happens beside the steps: snapshots, checkpoints, log lines, progress bar."""

import time
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ProgressBar

from edm2lite.config import Nimg
from edm2lite.files import atomic_path
from edm2lite.progress import progress_bar
from edm2lite.snapshots.files import SnapshotInfo, save_snapshot
from edm2lite.snapshots.index import snapshot_name
from edm2lite.training.module import EDM2Module
from edm2lite.training.rundir import RunDir


class SnapshotWriter(Callback):
    """Writes every EMA profile each `every_nimg` images and at the end.

    Args:
        run: Run directory.
        info: What the snapshots are of, without nimg and sigma_rel.
        every_nimg, total_nimg: Schedule, in images.
    """

    def __init__(self, run: RunDir, info: SnapshotInfo, every_nimg: int, total_nimg: int):
        self.run, self.info, self.every_nimg, self.total_nimg = run, info, every_nimg, total_nimg

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: object) -> None:
        assert isinstance(pl_module, EDM2Module)
        nimg = pl_module.nimg
        if trainer.is_global_zero and _due(nimg, self.every_nimg, self.total_nimg):
            for sigma_rel in pl_module.ema.averages:
                tensors = dict(pl_module.denoiser.state_dict()) | pl_module.ema.named_average(sigma_rel)
                info = self.info.at(nimg, sigma_rel)
                save_snapshot(self.run.snapshots / snapshot_name(nimg, sigma_rel), tensors, info)


class CheckpointWriter(Callback):
    """Writes everything needed to resume; the previous checkpoint goes once the next one is whole."""

    def __init__(self, run: RunDir, every_nimg: int, total_nimg: int):
        self.run, self.every_nimg, self.total_nimg = run, every_nimg, total_nimg

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: object) -> None:
        assert isinstance(pl_module, EDM2Module)
        if _due(pl_module.nimg, self.every_nimg, self.total_nimg):
            self._save(trainer, self.run.checkpoint(pl_module.nimg))

    def _save(self, trainer: L.Trainer, path: Path) -> None:
        """All ranks take part; rank 0 writes, then removes what the new file supersedes."""
        if not trainer.is_global_zero:
            trainer.save_checkpoint(path)
            return
        with atomic_path(path) as temporary:
            trainer.save_checkpoint(temporary)
        for old in self.run.checkpoints.glob("*.ckpt"):
            if old != path:
                old.unlink()


class LogWriter(Callback):
    """Sends loss (mean an element), learning rate and speed to all loggers each `every_nimg` images, stamped by nimg."""

    def __init__(self, every_nimg: int, total_nimg: int):
        self.every_nimg, self.total_nimg = every_nimg, total_nimg
        self.steps, self.started = 0, 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._restart(pl_module)

    def _restart(self, pl_module: L.LightningModule) -> None:
        self.loss, self.steps, self.started = torch.zeros((), device=pl_module.device), 0, time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: object) -> None:
        assert isinstance(pl_module, EDM2Module)
        self.loss += pl_module.mean_loss
        self.steps += 1
        nimg, batch_size = pl_module.nimg, pl_module.cfg.batch_size
        if nimg % self.every_nimg >= batch_size and nimg < self.total_nimg:
            return
        loss = trainer.strategy.reduce(self.loss / self.steps, reduce_op="mean")
        metrics = {
            "loss": float(loss),
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "img_per_s": self.steps * batch_size / (time.perf_counter() - self.started),
            "nonfinite_gradients": float(pl_module.nonfinite_gradients),
        }
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=nimg)
        self._restart(pl_module)


class Progress(ProgressBar):
    """One bar over the whole run: nimg of total, images a second, time left, loss, learning rate."""

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
            status = (
                f"nimg {Nimg(pl_module.nimg)}/{Nimg(self.total_nimg)} loss {float(pl_module.mean_loss):.4f} lr {lr:.2e}"
            )
            self.bar.set_postfix_str(status, refresh=False)
        self.bar.update(pl_module.cfg.batch_size)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.bar.close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        if hasattr(self, "bar"):
            self.bar.close()


def _due(nimg: int, every_nimg: int, total_nimg: int) -> bool:
    return nimg % every_nimg == 0 or nimg >= total_nimg
