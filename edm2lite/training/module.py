"""The Lightning module: one batch is one optimizer step."""

import math
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
from edm2lite.errors import UserError
from edm2lite.network.classifier import Network
from edm2lite.network.denoiser import Denoiser
from edm2lite.network.layers import normalize_weights_
from edm2lite.network.shards import local_shard
from edm2lite.network.unet import Block
from edm2lite.training.checkpoint import CheckpointInfo
from edm2lite.training.learning_rate import learning_rate
from edm2lite.training.power_ema import PowerEMA
from edm2lite.training.tasks import step_values
from edm2lite.training.together import reduce_

Start = Callable[["EDM2Module"], CheckpointInfo]


class NonFiniteError(UserError):
    """Loss or gradients became infinite or NaN; the weights are those of before the step."""


class EDM2Module(L.LightningModule):
    """Trains a denoiser, or a classifier, by the recipe of `cfg`.

    Optimisation is manual so that a Lightning batch is exactly one optimizer step: then `global_step` times the batch
    size is nimg, and micro-batches, ranks and resumes cannot misalign.

    Args:
        net: Network to train; its weights are shared by reference.
        cfg: The recipe.
        start: Called once weights, EMA and optimizer lie where they will stay (under FSDP2: sharded), to fill them;
            says where the run stands. Default: a new run.

    Attributes:
        began: Where this training began, there once fitting has.
        ema: EMA profiles, there once fitting has begun.
        means: Loss of the last step, and what else is logged, by name, averaged over this rank's elements.
        nonfinite_gradients: Gradient elements zeroed so far, if that is asked for.
    """

    ema: PowerEMA
    means: dict[str, Tensor]
    nonfinite_gradients: Tensor

    def __init__(self, net: Network, cfg: TrainingConfig, start: "Start | None" = None):
        super().__init__()
        self.automatic_optimization = False
        self.net, self.cfg, self._start = net, cfg, start
        self.register_buffer("nonfinite_gradients", torch.zeros((), dtype=torch.int64))
        self.began = CheckpointInfo(nimg=0)
        for module in net.modules():
            if isinstance(module, Block):
                module.recompute = cfg.activation_checkpointing

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
        """Under FSDP2: shard every block, the uncertainty's layer (used outside a denoiser's forward), and the rest."""
        if not isinstance(self.trainer.strategy, ModelParallelStrategy) or isinstance(self.net, FSDPModule):
            return
        mesh = self.trainer.strategy.device_mesh["data_parallel"]
        blocks = [module for module in self.net.modules() if isinstance(module, Block)]
        self.net.to(memory_format=torch.contiguous_format)  # the only one that can be sharded
        outside = [self.net.logvar_linear] if isinstance(self.net, Denoiser) else []
        for module in (*blocks, *outside, self.net):
            fully_shard(module, mesh=mesh)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.net.parameters(), lr=self.cfg.ref_lr, betas=self.cfg.betas)

    def on_fit_start(self) -> None:
        """Lay out the EMA where the weights are by now: on their device, in their shards."""
        self.ema = PowerEMA(self.net, self.cfg.ema_sigma_rel)
        if self._start is not None:
            self.began = self._start(self)
        self.nonfinite_gradients.fill_(self.began.nonfinite_gradients)
        if self.began.nimg == 0:
            normalize_weights_(self.net)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        self.means = self._backward(batch)
        self._handle_nonfinite()
        self._optimizer_step()
        self.ema.update(self.nimg, self.cfg.batch_size)
        normalize_weights_(self.net)  # after the EMA, which sees the weights as the optimizer left them

    def _backward(self, batch: Batch) -> dict[str, Tensor]:
        """Accumulate the gradients of all micro-batches; ranks exchange them with the last. Returns `means`."""
        local = len(batch.images)
        micro_batches = list(zip(*(x.split(self.cfg.batch_per_device or local) for x in batch), strict=True))
        sums, counts = defaultdict[str, Tensor](lambda: torch.zeros((), device=self.device)), Counter[str]()
        for i, micro in enumerate(micro_batches):
            values = {name: (v.sum(), v.numel()) for name, v in step_values(self.net, Batch(*micro), self.cfg).items()}
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

    def _handle_nonfinite(self) -> None:
        """Unscale the gradients; then zero and count those that are not finite, or stop at them or at such a loss."""
        grads = [local_shard(p.grad) for p in self.net.parameters() if p.grad is not None]
        if self.cfg.loss_scaling != 1:
            torch._foreach_div_(grads, self.cfg.loss_scaling)
        if self.cfg.nonfinite_gradients == "zero":
            count = torch.stack([(~g.isfinite()).sum() for g in grads]).sum()
            self.nonfinite_gradients += reduce_(count, "SUM") if isinstance(self.net, FSDPModule) else count
            for g in grads:
                torch.nan_to_num(g, nan=0, posinf=0, neginf=0, out=g)
        else:
            self._stop_if_nonfinite(self.means["loss"], torch.stack(torch._foreach_norm(grads)).sum())

    def _stop_if_nonfinite(self, loss: Tensor, gradients: Tensor) -> None:
        """Raise on all ranks, before the update, if one of the two is not finite on any of them."""
        values = torch.zeros(2, self.trainer.world_size, device=self.device)
        values[:, self.global_rank] = torch.stack([loss, gradients])
        if reduce_(values, "SUM").isfinite().all():
            return
        what, row = ("loss", values[0]) if not values[0].isfinite().all() else ("gradients", values[1])
        ranks = ", ".join(f"{rank} ({v})" for rank, v in enumerate(row.tolist()) if not math.isfinite(v))
        raise NonFiniteError(
            f"{what} not finite at step {self.step} (nimg {self.nimg}) on rank {ranks}; the weights were not "
            "updated. Check the data; go on with training.nonfinite_gradients=zero, or begin another run_dir with a lower "
            "training.ref_lr"
        )
