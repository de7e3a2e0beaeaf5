"""The Lightning module: one batch is one optimizer step."""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import ParallelStrategy
from torch import Tensor

from edm2lite.config import TrainingConfig
from edm2lite.data.positions import Batch
from edm2lite.errors import UserError
from edm2lite.network.denoiser import Denoiser
from edm2lite.network.layers import normalize_weights_
from edm2lite.training.learning_rate import learning_rate
from edm2lite.training.loss import noise_levels, weighted_loss
from edm2lite.training.power_ema import PowerEMA


class NonFiniteError(UserError):
    """Loss or gradients became infinite or NaN; the weights are those of before the step."""


class EDM2Module(L.LightningModule):
    """Trains a denoiser by the recipe of `cfg`.

    Optimisation is manual so that a Lightning batch is exactly one optimizer step: then `global_step` times the batch
    size is nimg, and micro-batches, ranks and resumes cannot misalign.

    Attributes:
        ema: EMA profiles, there once fitting has begun.
        mean_loss: Loss of the last step, averaged over this rank's elements.
        nonfinite_gradients: Gradient elements zeroed so far, if that is asked for.
    """

    ema: PowerEMA
    nonfinite_gradients: Tensor

    def __init__(self, denoiser: Denoiser, cfg: TrainingConfig):
        super().__init__()
        self.automatic_optimization = False
        self.denoiser, self.cfg = denoiser, cfg
        self.register_buffer("nonfinite_gradients", torch.zeros((), dtype=torch.int64))
        self._ema_state: dict[str, dict[str, Tensor]] | None = None

    @property
    def nimg(self) -> int:
        """Training images seen."""
        return self.trainer.global_step * self.cfg.batch_size

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.denoiser.parameters(), lr=self.cfg.ref_lr, betas=self.cfg.betas)

    def on_fit_start(self) -> None:
        """Lay out the EMA where the weights are by now: on their device."""
        self.ema = PowerEMA(self.denoiser, self.cfg.ema_sigma_rel)
        if self._ema_state is None:
            normalize_weights_(self.denoiser)
        else:
            self.ema.load_state_dict(self._ema_state)
            self._ema_state = None

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        self.mean_loss = self._backward(batch)
        self._stop_if_nonfinite("loss", self.mean_loss)
        self._handle_nonfinite_gradients()
        self._optimizer_step()
        self.ema.update(self.nimg, self.cfg.batch_size)
        normalize_weights_(self.denoiser)  # after the EMA, which sees the weights as the optimizer left them

    def _backward(self, batch: Batch) -> Tensor:
        """Accumulate the gradients of all micro-batches; ranks exchange them with the last. Returns the mean loss."""
        local = len(batch.images)
        micro_batches = list(zip(*(x.split(self.cfg.batch_per_device or local) for x in batch), strict=True))
        total = torch.zeros((), device=self.device)
        for i, micro in enumerate(micro_batches):
            loss = self._loss(Batch(*micro))
            total += loss.detach()
            with self._gradient_sync(last=i + 1 == len(micro_batches)):
                self.manual_backward(loss * (self.cfg.loss_scaling / local))
        return total / batch.images.numel()

    def _gradient_sync(self, last: bool) -> AbstractContextManager:
        """Ranks average their gradients in the last backward of a step alone."""
        strategy = self.trainer.strategy
        return nullcontext() if last or not isinstance(strategy, ParallelStrategy) else strategy.block_backward_sync()

    def _loss(self, batch: Batch) -> Tensor:
        """Sum of the loss over a micro-batch."""
        sigma = noise_levels(batch.normals, self.cfg.P_mean, self.cfg.P_std)
        keys = batch.keys if self.denoiser.network.dropout > 0 else None
        return weighted_loss(self.denoiser, batch.images, batch.labels, sigma, batch.noise, keys).sum()

    def _optimizer_step(self) -> None:
        optimizer = self.optimizers()
        cfg = self.cfg
        for group in optimizer.param_groups:  # type: ignore[union-attr]
            group["lr"] = learning_rate(self.nimg, cfg.batch_size, cfg.ref_lr, cfg.ref_batches, cfg.rampup_nimg)
        optimizer.step()  # type: ignore[union-attr]
        optimizer.zero_grad()  # type: ignore[union-attr]

    def _handle_nonfinite_gradients(self) -> None:
        """Unscale; then stop at, or zero and count, gradients that are not finite."""
        grads = [p.grad for p in self.denoiser.parameters() if p.grad is not None]
        if self.cfg.loss_scaling != 1:
            torch._foreach_div_(grads, self.cfg.loss_scaling)
        if self.cfg.nonfinite_gradients == "zero":
            self.nonfinite_gradients += torch.stack([(~g.isfinite()).sum() for g in grads]).sum()
            for g in grads:
                torch.nan_to_num(g, nan=0, posinf=0, neginf=0, out=g)
        else:
            self._stop_if_nonfinite("gradients", torch.stack(torch._foreach_norm(grads)).sum())

    def _stop_if_nonfinite(self, what: str, value: Tensor) -> None:
        """Raise on all ranks, before the update, if `value` is not finite on any of them."""
        values = torch.zeros(self.trainer.world_size, device=self.device)
        values[self.global_rank] = value
        values = self.trainer.strategy.reduce(values, reduce_op="sum")
        if values.isfinite().all():
            return
        ranks = ", ".join(f"{rank} ({v})" for rank, v in enumerate(values.tolist()) if not math.isfinite(v))
        raise NonFiniteError(
            f"{what} not finite at step {self.trainer.global_step} (nimg {self.nimg}) on rank {ranks}; the weights were not "
            "updated. Check the data; "
            + ("go on with training.nonfinite_gradients=zero, or " if what == "gradients" else "")
            + "begin another run_dir with a lower training.ref_lr"
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["ema"] = self.ema.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._ema_state = checkpoint["ema"]
