"""Looking at a run on the way: every so many images all ranks make images from the EMA, and rank 0 writes down what they show.

What is made and measured is up to a `Watcher`, which a room above this one provides. Here is decided when, and from which
weights; and that the training neither notices it (weights are lent, nothing of it is changed or drawn) nor dies of it.
"""

import sys
import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Protocol

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from tqdm import tqdm

from edm2lite.config import Nimg, TrainConfig
from edm2lite.data.sheets import to_picture
from edm2lite.errors import UserError, first_line
from edm2lite.files import atomic_path, digest, write_json
from edm2lite.interrupt import Interrupt
from edm2lite.network.shards import gather
from edm2lite.ranks import Rank
from edm2lite.snapshots.files import SnapshotInfo, load_weights
from edm2lite.snapshots.index import snapshot_name
from edm2lite.snapshots.load import LoadedModel
from edm2lite.training.callbacks import CheckpointWriter, LogWriter, due
from edm2lite.training.loggers import log_sight
from edm2lite.training.module import EDM2Module
from edm2lite.training.rundir import RunDir
from edm2lite.training.together import everyones, in_step, on_rank_zero
from edm2lite.training.watch_log import WatchLog


class Watcher(Protocol):
    """Makes images with a model and measures them."""

    def load(self, info: SnapshotInfo, device: torch.device) -> None:
        """Get ready to watch models of `info` on `device`; on every rank, once.

        Raises:
            UserError: If that cannot work.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Everything but the model that decides the numbers, as plain data."""
        ...

    def look(self, model: LoadedModel, rank: Rank) -> Iterator[Any]:
        """Make the images of one rank, batch by batch; what is known of them, on the CPU."""
        ...

    def report(self, parts: Sequence[Any]) -> tuple[dict[str, float], np.ndarray | None]:
        """From what all ranks made, in any order: numbers by name, and a sheet, uint8 [C, H, W]; on rank 0."""
        ...


class Watch(Callback):
    """Looks every `cfg.watch.every_nimg` images and at the end; a look that a signal cut short is taken when the run goes on.

    The model that is looked at shares the EMA's memory. Under FSDP2 it is a whole float32 copy on every device, held for the
    time of the look.

    Args:
        watcher: Makes and measures images.
        cfg, run, info: The run; `info` is what its snapshots are of.
        interrupt: Signals that ask to stop.
        checkpoints: Saves the state when a signal comes during a look.
    """

    def __init__(
        self, watcher: Watcher, cfg: TrainConfig, run: RunDir, info: SnapshotInfo, interrupt: Interrupt,
        checkpoints: CheckpointWriter,
    ):  # fmt: skip
        self.watcher, self.cfg, self.run, self.info = watcher, cfg, run, info
        self.interrupt, self.checkpoints = interrupt, checkpoints

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """What cannot work is refused now, by all ranks, not after hours."""
        problem = ""
        try:
            self.watcher.load(self.info, trainer.strategy.root_device)
        except UserError as e:
            problem = str(e)
        for text in filter(None, everyones(problem)):
            raise UserError(f"watch: {text}")
        described = {"ema": self.cfg.watched_ema, **self.watcher.describe()}
        self.log = WatchLog(self.run.watch_log, setup=digest(described)[:8])
        on_rank_zero(trainer, lambda: write_json(self.run.watch / f"setup-{self.log.setup}.json", described))

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, EDM2Module)
        if pl_module.nimg:
            self._look_if_due(trainer, pl_module)
        elif trainer.is_global_zero:
            self.log.clear()  # of a run that left no state to go on from

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: object) -> None:
        assert isinstance(pl_module, EDM2Module)
        self._look_if_due(trainer, pl_module)

    def _look_if_due(self, trainer: L.Trainer, module: EDM2Module) -> None:
        assert self.cfg.watch.every_nimg
        nimg = Nimg(module.nimg)
        if trainer.should_stop or not due(nimg, self.cfg.watch.every_nimg, self.cfg.training.total_nimg):
            return
        if module.settle():
            self.checkpoints.save(trainer, module)
            return
        if on_rank_zero(trainer, lambda: self.log.has(nimg)):
            return
        started = time.perf_counter()
        look = in_step(self._look(module, Rank(trainer.global_rank, trainer.world_size)), self.interrupt, module.device)
        if look.signum:
            self.checkpoints.save(trainer, module, look.signum)
        elif trainer.is_global_zero:
            self._report(trainer, nimg, look.problem, look.parts, started)
        if module.device.type == "cuda":
            torch.cuda.empty_cache()  # the training may need it in other pieces
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, LogWriter):
                callback.leave_out(time.perf_counter() - started)

    def _look(self, module: EDM2Module, rank: Rank) -> Generator[Any, None, None]:
        """The watcher's look at the EMA of now; the weights are gathered at once, since all ranks take part in that."""
        sigma_rel, parameters = self.cfg.watched_ema, dict(module.net.named_parameters())
        averages = module.ema.named_average(sigma_rel)
        tensors = {name: gather(shard, parameters[name]) for name, shard in averages.items()}
        tensors |= dict(module.net.named_buffers())
        path = self.run.snapshots / snapshot_name(module.nimg, sigma_rel)
        info, dtype = self.info.at(module.nimg, sigma_rel), module.net.compute_dtype

        def look() -> Generator[Any, None, None]:
            net = load_weights(info, tensors, path)
            tensors.clear()  # what was gathered is laid out anew below, and need not be held twice
            net.to(memory_format=torch.channels_last)
            net.compute_dtype = dtype
            yield from self.watcher.look(LoadedModel(net, info, path), rank)

        return look()

    def _report(self, trainer: L.Trainer, nimg: Nimg, problem: str, parts: Sequence[Any], started: float) -> None:
        try:
            if problem:
                raise UserError(problem)
            numbers, sheet = self.watcher.report(parts)
            if sheet is not None:
                with atomic_path(self.run.watch / f"{nimg}.png") as temporary:
                    to_picture(sheet).save(temporary, format="PNG")
            self.log.add(nimg, self.cfg.watched_ema, numbers)
            log_sight(trainer.loggers, numbers, sheet, nimg)
            line = f"watch at nimg {nimg}: {_shown(numbers)} ({time.perf_counter() - started:.1f} s)"
        except Exception as e:  # whatever it is, the training is worth more
            kind = "" if isinstance(e, UserError) else f"{type(e).__name__}: "
            line = f"warning: watch at nimg {nimg} failed, the training goes on: {kind}{first_line(e)}"
        tqdm.write(line, file=sys.stderr)


def _shown(numbers: dict[str, float]) -> str:
    """Numbers for people, each with its standard error if it has one."""
    texts = []
    for name, value in numbers.items():
        error = numbers.get(f"{name}_se")
        if not name.endswith("_se"):
            texts.append(f"{name} {value:.5g}" + ("" if error is None else f" +- {error:.2g}"))
    return ", ".join(texts)
