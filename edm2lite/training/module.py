"""The Lightning module: one batch is one optimizer step."""

from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import lightning as L
import torch
from lightning.pytorch.strategies import ModelParallelStrategy, ParallelStrategy
from torch import Tensor
from torch.distributed.fsdp import FSDPModule, fully_shard

from edm2lite.config import TrainingConfig
from edm2lite.data.positions import Batch
from edm2lite.interrupt import Interrupt
from edm2lite.network.classifier import Network
from edm2lite.network.denoiser import Denoiser
from edm2lite.network.layers import normalize_weights_
from edm2lite.network.unet import Block
from edm2lite.training.checkpoint import CheckpointInfo
from edm2lite.training.gradients import mend_gradients_
from edm2lite.training.learning_rate import learning_rate
from edm2lite.training.outcomes import NonFiniteError, Outcomes
from edm2lite.training.power_ema import PowerEMA
from edm2lite.training.prepare import make_optimizer, training_values
from edm2lite.training.tasks import step_values

__all__ = ["EDM2Module", "NonFiniteError", "Start"]
Start = Callable[["EDM2Module"], CheckpointInfo]


class EDM2Module(L.LightningModule):
    """Trains a denoiser, or a classifier, by the recipe of `cfg`.

    Optimisation is manual so that a Lightning batch is exactly one optimizer step: then `global_step` times the batch
    size is nimg, and micro-batches, ranks and resumes cannot misalign.

    Args:
        net: Network to train; its weights are shared by reference.
        cfg: The recipe.
        start: Called once weights, EMA and optimizer lie where they will stay (under FSDP2: sharded), to fill them;
            says where the run stands. Default: a new run.
        interrupt: Signals that ask to stop, if any do.

    Attributes:
        began: Where this training began, there once fitting has.
        ema: EMA profiles, there once fitting has begun.
        means: Loss of the last step, and what else is logged, by name, averaged over this rank's elements.
        loss: Of the last step that is known, the mean over all ranks; NaN: of none yet.
        nonfinite_gradients: Gradient elements zeroed in the steps that are known, if that is asked for.
        signum: Signal that asked a rank to stop, as all of them know it; 0: none.
    """

    ema: PowerEMA
    means: dict[str, Tensor]

    def __init__(
        self, net: Network, cfg: TrainingConfig, start: "Start | None" = None, interrupt: Interrupt | None = None
    ):
        super().__init__()
        self.automatic_optimization = False
        self.net, self.cfg, self._start, self._interrupt = net, cfg, start, interrupt
        self.loss, self.nonfinite_gradients, self.signum = float("nan"), 0, 0
        self._values: Callable[..., dict[str, Tensor]] = step_values
        self.began = CheckpointInfo(nimg=0)

    @property
    def first_step(self) -> int:
        """Optimizer steps taken before this training."""
        return self.began.nimg // self.cfg.batch_size

    @property
    def step(self) -> int:
        """Optimizer steps taken since the run began."""
        return self.first_step + self.trainer.global_step

    @property
    def nimg(self) -> int:
        """Training images seen."""
        return self.step * self.cfg.batch_size

    def configure_model(self) -> None:
        """Compile what is to be; under FSDP2 shard blocks, the uncertainty's layer (used outside the forward), and the rest."""
        strategy = self.trainer.strategy
        if isinstance(self.net, FSDPModule):
            return
        self._values = training_values(self.net, self.cfg, isinstance(strategy, ModelParallelStrategy))
        if isinstance(strategy, ModelParallelStrategy):
            blocks = [module for module in self.net.modules() if isinstance(module, Block)]
            self.net.to(memory_format=torch.contiguous_format)  # the only one that can be sharded
            outside = [self.net.logvar_linear] if isinstance(self.net, Denoiser) else []
            for module in (*blocks, *outside, self.net):
                fully_shard(module, mesh=strategy.device_mesh["data_parallel"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return make_optimizer(self.net, self.cfg)

    def on_fit_start(self) -> None:
        """Lay out the EMA where the weights are by now: on their device, in their shards."""
        self.ema = PowerEMA(self.net, self.cfg.ema_sigma_rel)
        if self._start is not None:
            self.began = self._start(self)
        self.nonfinite_gradients = self.began.nonfinite_gradients
        self._outcomes = Outcomes(self.global_rank, self.trainer.world_size, self.device)
        if self.began.nimg == 0:
            normalize_weights_(self.net)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        self.means = self._backward(batch)
        self._send(*mend_gradients_(self.net, self.cfg))
        self._optimizer_step()
        self.ema.update(self.nimg, self.cfg.batch_size)
        normalize_weights_(self.net)  # after the EMA, which sees the weights as the optimizer left them
        self._hear(leave=1)

    def on_train_end(self) -> None:
        self.settle()

    def settle(self) -> int:
        """Wait for what all ranks say of all steps so far: before anything is written or looked at. Returns `signum`.

        Raises:
            NonFiniteError: On all ranks, if loss or gradients of a step were not finite and are not zeroed.
        """
        self._hear(leave=0)
        return self.signum

    def _hear(self, leave: int) -> None:
        """Take note of the steps but the last `leave`."""
        for outcome in self._outcomes.read(leave):
            if self.cfg.nonfinite_gradients == "error":
                outcome.check_finite()
            sharded = isinstance(self.net, FSDPModule)  # else the gradients are the same on all ranks
            self.nonfinite_gradients += sum(outcome.zeroed) if sharded else outcome.zeroed[0]
            self.loss, self.signum = outcome.loss, outcome.signum or self.signum
        if self.trainer.world_size == 1 and self._interrupt is not None:  # nobody else has to hear of it
            self.signum = self._interrupt.signum or self.signum

    def _backward(self, batch: Batch) -> dict[str, Tensor]:
        """Accumulate the gradients of all micro-batches; ranks exchange them with the last. Returns `means`."""
        local = len(batch.images)
        micro_batches = list(zip(*(x.split(self.cfg.batch_per_device or local) for x in batch), strict=True))
        sums, counts = defaultdict[str, Tensor](lambda: torch.zeros((), device=self.device)), Counter[str]()
        for i, micro in enumerate(micro_batches):
            values = {name: (v.sum(), v.numel()) for name, v in self._values(self.net, Batch(*micro), self.cfg).items()}
            for name, (total, count) in values.items():
                sums[name] += total.detach()
                counts[name] += count
            with self._gradient_sync(last=i + 1 == len(micro_batches)):
                self.manual_backward(values["loss"][0] * (self.cfg.loss_scaling / local))
        return {name: total / counts[name] for name, total in sums.items()}

    def _gradient_sync(self, last: bool) -> AbstractContextManager:
        """Ranks average their gradients in the last backward of a step alone."""
        strategy = self.trainer.strategy
        if isinstance(self.net, FSDPModule):
            self.net.set_requires_gradient_sync(last)
        return nullcontext() if last or not isinstance(strategy, ParallelStrategy) else strategy.block_backward_sync()

    def _optimizer_step(self) -> None:
        optimizer = self.optimizers()
        cfg = self.cfg
        for group in optimizer.param_groups:  # type: ignore[union-attr]
            group["lr"] = learning_rate(self.nimg, cfg.batch_size, cfg.ref_lr, cfg.ref_batches, cfg.rampup_nimg)
        optimizer.step()  # type: ignore[union-attr]
        optimizer.zero_grad()  # type: ignore[union-attr]

    def _send(self, norm: Tensor, zeroed: Tensor) -> None:
        signum = self._interrupt.signum if self._interrupt is not None else 0
        self._outcomes.send(self.step, self.nimg, self.means["loss"], norm, zeroed, signum)
