"""The Lightning module: micro-batches change nothing; what is not finite stops before anything is written."""

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from edm2lite.config import DataConfig, Nimg, TrainingConfig
from edm2lite.data.datasets import load_dataset
from edm2lite.data.positions import PositionDataset, PositionSampler
from edm2lite.training.module import EDM2Module, NonFiniteError
from tests.conftest import tiny_denoiser

pytestmark = pytest.mark.filterwarnings("ignore")


class Break(L.Callback):
    """Makes the images (hence the loss) or one gradient of a step not finite."""

    def __init__(self, step, what):
        self.step, self.what = step, what

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_step == self.step:
            if self.what == "loss":
                batch.images[0, 0, 0, 0] = torch.nan
            else:
                weight = module.net.unet.out_conv.weight
                handle = weight.register_hook(lambda g: torch.full_like(g, torch.inf))
                self.handle = handle

    def on_train_batch_end(self, trainer, module, *args):
        if hasattr(self, "handle"):
            self.handle.remove()


def train(steps=3, callbacks=(), net=None, **changes):
    cfg = TrainingConfig(
        batch_size=12, total_nimg=Nimg(12 * steps), snapshot_nimg=Nimg(12), checkpoint_nimg=Nimg(12),
        rampup_nimg=Nimg(0), **changes,
    )  # fmt: skip
    net = (net or tiny_denoiser(label_dim=10)).requires_grad_(True)
    module = EDM2Module(net, cfg)
    data = DataLoader(
        PositionDataset(load_dataset(DataConfig(name="digits")), cfg.seed),
        batch_sampler=PositionSampler(0, cfg.batch_size, 0, 1), collate_fn=lambda b: b,
    )  # fmt: skip
    trainer = L.Trainer(
        accelerator="cpu", max_steps=steps, max_epochs=-1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=list(callbacks), use_distributed_sampler=False,
    )  # fmt: skip
    module.before = [p.detach().clone() for p in net.parameters()]
    trainer.fit(module, data)
    return module


def difference(a, b):
    return max(float((p - q).abs().max()) for p, q in zip(a.net.parameters(), b.net.parameters(), strict=True))


@pytest.mark.parametrize("micro", [1, 4, 5])
def test_micro_batches_give_the_same_step(micro):
    dropout = {"net": tiny_denoiser(label_dim=10, dropout=0.3)}
    whole = train(net=tiny_denoiser(label_dim=10, dropout=0.3))
    split = train(batch_per_device=micro, **dropout)
    assert difference(whole, split) < 1e-6
    assert float(whole.means["loss"]) == pytest.approx(float(split.means["loss"]), rel=1e-5)


def test_weights_end_up_normalised_and_the_average_does_not():
    module = train()
    w, averaged = module.net.unet.out_conv.weight, module.ema.named_average(0.1)["unet.out_conv.weight"]
    assert float(w.square().mean(dim=(1, 2, 3)).sqrt().max()) == pytest.approx(1, abs=2e-4)
    assert not torch.equal(w, averaged)


class Writer(L.Callback):
    """Settles after some steps, as whoever writes or looks does, and notes what would be written."""

    def __init__(self, *steps):
        self.steps, self.written, self.last = steps, [], 0

    def on_train_batch_end(self, trainer, module, *args):
        self.last = trainer.global_step
        if self.last in self.steps:
            module.settle()
            self.written.append((self.last, all(bool(p.isfinite().all()) for p in module.net.parameters())))


@pytest.mark.parametrize(
    ("what", "steps", "written", "last"),
    [("loss", (2, 3), [(2, True)], 3), ("loss", (2,), [(2, True)], 3), ("gradients", (2, 3), [(2, True)], 3)],
)
def test_not_finite_stops_before_anything_is_written_and_names_step_and_rank(what, steps, written, last):
    """Step 2 (from 0) is bad: who writes after it finds out at once, else the step after it does, before its hooks."""
    writer = Writer(*steps)
    with pytest.raises(NonFiniteError, match=rf"{what} not finite at step 2 \(nimg 24\) on rank 0 \((nan|inf)\)"):
        train(steps=6, callbacks=[Break(2, what), writer])
    assert (writer.written, writer.last) == (written, last)


def test_not_finite_in_the_last_step_is_found_although_nobody_writes():
    with pytest.raises(NonFiniteError, match="loss not finite at step 2"):
        train(steps=3, callbacks=[Break(2, "loss")])


def test_zeroing_is_a_named_option_that_counts():
    module = train(steps=3, callbacks=[Break(1, "gradients")], nonfinite_gradients="zero")
    assert module.nonfinite_gradients == module.net.unet.out_conv.weight.numel()
    assert all(p.isfinite().all() for p in module.net.parameters())
    module = train(steps=3, callbacks=[Break(1, "loss")], nonfinite_gradients="zero")
    assert module.nonfinite_gradients > 0 and all(p.isfinite().all() for p in module.net.parameters())


def test_loss_scaling_changes_nothing_but_the_gradients_in_flight():
    assert difference(train(), train(loss_scaling=1024.0)) < 1e-6
