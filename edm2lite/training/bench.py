"""Speed and memory of a training step on one device, measured.

Measured is what a step is made of, with the run's network, loss, precision, optimizer and compile setting: forward and backward
of one micro-batch, and what follows the last of them (Adam, EMA, normalisation). Ranks and the loader of data are left out.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import NamedTuple

import torch

from edm2lite.config import TrainConfig
from edm2lite.data.datasets import load_dataset
from edm2lite.data.positions import Batch, PositionDataset
from edm2lite.memory import out_of_memory
from edm2lite.network.attention import AUTO, able_backends
from edm2lite.network.classifier import Network
from edm2lite.network.energy import Energy
from edm2lite.network.layers import normalize_weights_
from edm2lite.network.unet import Block
from edm2lite.snapshots.files import SnapshotInfo
from edm2lite.training.gradients import mend_gradients_
from edm2lite.training.memory import Peak, free
from edm2lite.training.power_ema import PowerEMA
from edm2lite.training.prepare import make_optimizer, prepare, training_values
from edm2lite.training.trainer import training_device

_REPEATS = 5


class Setting(NamedTuple):
    """What is to be found."""

    batch_per_device: int
    recompute: bool = False
    attention: str = AUTO


class Measured(NamedTuple):
    """Of one setting on one device.

    Attributes:
        setting: What was measured.
        speed: Images a second, of a whole step of this device's share.
        memory: Peak in bytes.
    """

    setting: Setting
    speed: float
    memory: int


class Bench:
    """Takes steps of the configured training on one device.

    Args:
        cfg: The run.
        share: Images of a step that fall to this device.

    Attributes:
        device: Where.
    """

    def __init__(self, cfg: TrainConfig, share: int):
        self.cfg, self.share, self.device = cfg, share, training_device(cfg.trainer)
        dataset = load_dataset(cfg.data)
        self._info = SnapshotInfo(
            img_resolution=dataset.img_resolution, img_channels=dataset.img_channels, label_dim=dataset.label_dim,
            network=cfg.network, encoder=dataset.encoder, dataset=dataset.name, kind=cfg.task,
        )  # fmt: skip
        self._batch = PositionDataset(dataset, cfg.training.seed, cfg.training.nu).__getitems__(list(range(share)))

    def able_backends(self) -> list[str]:
        """Attention kernels that can compute this network here; none, if nothing in it attends."""
        net = _build(self._info)
        prepare(net, replace(self.cfg.training, attention=AUTO), self.device)
        attends = any(isinstance(module, Block) and module.num_heads for module in net.modules())
        return able_backends(net, self.device) if attends else []

    def measure(self, setting: Setting) -> Measured | None:
        """Speed and memory; None: memory ended."""
        free(self.device)
        try:
            return self._measure(setting)
        except RuntimeError as e:
            if not out_of_memory(e):
                raise
            return None

    def _measure(self, setting: Setting) -> Measured:
        peak = Peak(self.device)
        step = _Step(self.cfg, self._info, setting, self.device)
        batch = Batch(*(x[: setting.batch_per_device].to(self.device) for x in self._batch))
        one = self._seconds(lambda: step.accumulate(batch))
        rest = self._seconds(step.update)
        if setting.batch_per_device == self.share:
            step.optimizer.zero_grad()  # which such a step begins without
        peak.restart()  # without the warming up
        step.accumulate(batch)
        step.update()
        seconds = one * self.share / setting.batch_per_device + rest
        return Measured(setting, self.share / seconds, peak.bytes())

    def _seconds(self, do: Callable[[], None]) -> float:
        """Median over some calls, after one that compiles and fills caches."""
        times = []
        for _ in range(1 + _REPEATS):
            self._wait()
            start = time.perf_counter()
            do()
            self._wait()
            times.append(time.perf_counter() - start)
        return median(times[1:])

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class _Step:
    """The two parts of a training step, with a network, an optimizer and averages of their own."""

    def __init__(self, cfg: TrainConfig, info: SnapshotInfo, setting: Setting, device: torch.device):
        self.cfg = replace(
            cfg.training, batch_per_device=setting.batch_per_device, activation_checkpointing=setting.recompute,
            attention=setting.attention,
        )  # fmt: skip
        torch.manual_seed(cfg.training.seed)
        self.net = _build(info).to(device)
        prepare(self.net, self.cfg, device)
        torch.compiler.reset()
        self.values = training_values(self.net, self.cfg, sharded=False)
        self.optimizer, self.ema = make_optimizer(self.net, self.cfg), PowerEMA(self.net, self.cfg.ema_sigma_rel)

    def accumulate(self, batch: Batch) -> None:
        """Forward and backward of one micro-batch."""
        loss = self.values(self.net, batch, self.cfg)["loss"].sum()
        (loss * (self.cfg.loss_scaling / len(batch.images))).backward()

    def update(self) -> None:
        """What comes after the last of them; the gradients stay."""
        mend_gradients_(self.net, self.cfg)
        self.optimizer.step()
        self.ema.update(self.cfg.batch_size, self.cfg.batch_size)
        normalize_weights_(self.net)


def _build(info: SnapshotInfo) -> Network:
    net = info.build()
    assert not isinstance(net, Energy)  # the 2D example has a training of its own
    return net
