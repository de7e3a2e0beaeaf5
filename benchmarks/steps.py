"""The real training path with a clock in it: Lightning's Trainer as `train.py` makes it, on images in memory."""

import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import numpy as np
import torch
from timing import Spread, in_turns, memory_of, seconds, synchronize
from torch.utils.data import DataLoader

from edm2lite.config import TrainConfig, TrainingConfig
from edm2lite.data.images import ImageArrays
from edm2lite.data.positions import Batch, PositionDataset, PositionSampler
from edm2lite.interrupt import Interrupt
from edm2lite.network.denoiser import Denoiser
from edm2lite.snapshots.files import SnapshotInfo
from edm2lite.training.budget import DataShape
from edm2lite.training.callbacks import CheckpointWriter
from edm2lite.training.module import EDM2Module
from edm2lite.training.prepare import prepare
from edm2lite.training.rundir import RunDir
from edm2lite.training.trainer import PositionData, make_trainer, training_device


class Latents(ImageArrays):
    """Random moments of latents; the network sees half of their channels."""

    @property
    def img_channels(self) -> int:
        return self.images.shape[1] // 2


def synthetic(shape: DataShape, count: int) -> ImageArrays:
    """Random data in memory: pixels uint8 [N,C,H,W] for 1 or 3 channels, moments of latents float32 [N,8,H,W] for 4."""
    rng, side = np.random.default_rng(0), shape.img_resolution
    labels = rng.integers(0, max(shape.label_dim, 1), count)
    if shape.img_channels != 4:
        images = rng.integers(0, 256, (count, shape.img_channels, side, side), dtype=np.uint8)
        return ImageArrays("synthetic", images, labels, shape.label_dim, {"name": "rgb", "scale": 127.5})
    moments = rng.standard_normal((count, 8, side, side), np.float32)
    moments[:, 4:] = 0.1
    return Latents("synthetic", moments, labels, shape.label_dim, {"name": "vae"})


def batches(dataset: ImageArrays, cfg: TrainingConfig, count: int, device: torch.device) -> list[Batch]:
    """The first batches that a training sees, on the device."""
    source = PositionDataset(dataset, cfg.seed, cfg.nu)
    made = (source.__getitems__(list(range(i * cfg.batch_size, (i + 1) * cfg.batch_size))) for i in range(count))
    return [Batch(*(tensor.to(device) for tensor in batch)) for batch in made]


def endless(dataset: ImageArrays, cfg: TrainingConfig, workers: int, device: torch.device) -> Iterator[Batch]:
    """What a plain loop trains on: batches as the trainer's, from as many workers, on the device."""
    loader = DataLoader(
        PositionDataset(dataset, cfg.seed, cfg.nu), batch_sampler=PositionSampler(0, cfg.batch_size, 0, 1),
        collate_fn=lambda batch: batch, num_workers=workers, pin_memory=device.type == "cuda",
    )  # fmt: skip
    for batch in loader:
        yield Batch(*(tensor.to(device, non_blocking=True) for tensor in batch))


def sample_averages(averages: dict[float, list[torch.Tensor]]) -> torch.Tensor:
    """The first elements of every tensor of every EMA profile, on the CPU: few enough for the largest network."""
    return torch.cat([tensor.flatten()[:64].double().cpu() for profile in averages.values() for tensor in profile])


@dataclass
class Timed:
    """Of one training.

    Attributes:
        losses: Of the first steps, float32.
        moved: `sample_averages` after those steps, less what it was before.
        trainer: Seconds of so many steps, everything in them, turn by turn.
        bare: Likewise of the training step alone, on a batch that is there.
        other: Likewise of `other`, called after each turn of the trainer's; None: there was none.
        beside_bare: Likewise of `other`, called after each turn of the bare step's.
        memory: What the peak of a step is called, and the peak in MB.
        first: Seconds of the first step, compilation included.
    """

    losses: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    moved: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    trainer: Spread = Spread((0.0,))
    bare: Spread = Spread((0.0,))
    other: Spread | None = None
    beside_bare: Spread | None = None
    memory: tuple[str, float | None] = ("", None)
    first: float = 0.0


class Clock(L.Callback):
    """Looks at the clock every `steps` steps, waiting for the device only then; afterwards times the bare step; then stops.

    After each turn `other` has one, so that a busy machine is busy for both.
    """

    def __init__(
        self, steps: int, repeats: int, losses: int, other: Callable[[], None] | None,
        inspect: Callable[[Callable[[], None]], None] | None,
    ):  # fmt: skip
        self.steps, self.repeats, self.count, self.other, self.inspect = steps, repeats, losses, other, inspect
        self._others = list[float]()
        self.timed, self._losses, self._times = Timed(), list[torch.Tensor](), list[float]()
        self._start = 0.0

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0:
            assert isinstance(pl_module, EDM2Module)
            self.timed.moved = -sample_averages(pl_module.ema.averages)
            synchronize(pl_module.device)
            self._start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, EDM2Module)
        if batch_idx == 0:
            synchronize(pl_module.device)
            self.timed.first = time.perf_counter() - self._start
        if len(self._losses) < self.count:
            self._losses.append(pl_module.means["loss"].clone())
        after = batch_idx + 1 - self.count  # the compared steps warm up
        if after == 0:
            self.timed.moved += sample_averages(pl_module.ema.averages)
        if after < 0 or after % self.steps:
            return
        synchronize(pl_module.device)
        now = time.perf_counter()
        if after > 0:
            self._times.append(now - self._start)
            if self.other is not None:
                self._others.append(seconds(self.other, pl_module.device))
        if len(self._times) == self.repeats:
            self._finish(trainer, pl_module, batch)
        self._start = time.perf_counter()

    def _finish(self, trainer: L.Trainer, module: EDM2Module, batch: Any) -> None:
        def turn() -> None:
            for _ in range(self.steps):
                module.training_step(batch, 0)

        trainer.should_stop = True
        if self.inspect is not None:
            self.inspect(lambda: module.training_step(batch, 0))
        seconds(turn, module.device)
        self.timed.memory = memory_of(lambda: module.training_step(batch, 0), module.device)
        runs = {"bare": turn} | ({} if self.other is None else {"other": self.other})
        spent = in_turns(runs, module.device, self.repeats, warmup=0)
        self.timed.bare, self.timed.beside_bare = spent["bare"], spent.get("other")
        self.timed.trainer, self.timed.other = (
            Spread(tuple(self._times)),
            Spread(tuple(self._others)) if self.other else None,
        )
        self.timed.losses = torch.stack(self._losses).float().cpu()


def real_path(
    net: Denoiser, cfg: TrainConfig, dataset: ImageArrays, steps: int, repeats: int, losses: int,
    other: Callable[[], None] | None = None, inspect: Callable[[Callable[[], None]], None] | None = None,
) -> Timed:  # fmt: skip
    """Train a network as `train.py` does, until everything is timed; nothing but the log is written.

    Args:
        net: On its device; trained in place.
        cfg: Of the training; its total must not be reached.
        dataset: What it is trained on.
        steps: Of one turn.
        repeats: Turns.
        losses: Steps that are compared, by their losses and by how they move the EMA; they warm up.
        other: What has a turn after each, to be timed, too.
        inspect: Called with one bare step at the end, for a profiler.
    """
    run, t = RunDir(cfg.run_dir), cfg.training
    info = SnapshotInfo(
        img_resolution=dataset.img_resolution, img_channels=dataset.img_channels, label_dim=dataset.label_dim,
        network=cfg.network, encoder=dataset.encoder,
    )  # fmt: skip
    clock = Clock(steps, repeats, losses, other, inspect)
    # the progress bar is in the number, but not on the screen
    with Interrupt() as interrupt, redirect_stderr(io.StringIO()):
        checkpoints = CheckpointWriter(run, t.checkpoint_nimg, t.total_nimg)
        others: Sequence[L.Callback] = [clock]
        trainer = make_trainer(cfg, run, info, checkpoints, others)
        net.network = cfg.network
        prepare(net, t, training_device(cfg.trainer))
        trainer.fit(EDM2Module(net, t, interrupt=interrupt), datamodule=PositionData(dataset, cfg))
    if not len(clock.timed.losses):
        raise RuntimeError("the training was stopped before it was timed")
    return clock.timed
