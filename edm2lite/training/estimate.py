"""`train.py --estimate DEVICE`: what a run would need, before it is paid for."""

from collections.abc import Iterator

from edm2lite.config import TrainConfig
from edm2lite.errors import UserError
from edm2lite.training.budget import FILL, Budget, data_shape
from edm2lite.training.devices import PUBLISHED_SPEEDS, find_device

WHOLE_SYSTEM = 1.35  # published MWh over those of the A100s at their 400 W; presumably hosts, network and cooling


def print_estimate(cfg: TrainConfig) -> None:
    """Print parameters, memory, time, energy and disk of training by `cfg` on the device that `cfg.estimate` names.

    Raises:
        UserError: If the device or the shape of the data is unknown, the batch does not divide over the devices, or the
            task is no denoiser.
    """
    assert cfg.estimate is not None
    if cfg.task != "denoiser":
        raise UserError(f"task is {cfg.task}, and --estimate knows denoisers alone; leave one of the two out")
    budget = Budget(cfg, data_shape(cfg.data), find_device(cfg.estimate))
    print(f"{cfg.run_dir} on {budget.ranks} x {cfg.estimate}, from shapes and data sheets; nothing was run\n")
    for rows in (_what_rows, _memory_rows, _time_rows, _disk_rows):
        for label, text in rows(budget):
            print(f"{label:10}{text}")


def _what_rows(budget: Budget) -> Iterator[tuple[str, str]]:
    t, shape = budget.cfg.training, budget.shape
    size = f"{shape.img_resolution}x{shape.img_resolution}x{shape.img_channels}"
    yield "data", f"{size}, {shape.label_dim} classes: {shape.description}"
    yield "network", f"{_count(budget.parameters)} parameters, {_count(budget.multiply_adds)} multiply-adds an image"
    yield "training", f"{t.total_nimg} images in {t.total_nimg // t.batch_size:,} steps of {t.batch_size}"
    passes = "forward, backward, forward again" if t.activation_checkpointing else "forward and backward"
    yield "", f"{_count(budget.flops)}FLOP an image ({passes}), {budget.flops * t.total_nimg:.2e} FLOP in all"


def _memory_rows(budget: Budget) -> Iterator[tuple[str, str]]:
    t, setup = budget.cfg.training, budget.setup
    state, kept = budget.memory(setup)
    where = f"sharded over {budget.ranks} devices" if setup.fsdp else "whole on every device"
    yield "memory", f"{_gib(state)} weights, gradients, Adam, {len(t.ema_sigma_rel)} EMA profiles in float32, {where}"
    what = "inputs of blocks, one whole block" if setup.recompute else "activations"
    yield "", f"{_gib(kept)} {what} of {setup.batch_per_device} images in {t.precision}, and weights as applied"
    verdict = "fits" if budget.fits(setup) else f"DOES NOT FIT; next: {budget.next_step()}"
    yield "", f"{_gib(state + kept)} a device, of whose {budget.device.memory:g} GiB {FILL:.0%} are for use: {verdict}"


def _time_rows(budget: Budget) -> Iterator[tuple[str, str]]:
    device_hours, unlike = budget.hours * budget.ranks, budget.multiply_adds < min(PUBLISHED_SPEEDS) / 2
    length = f"{budget.hours / 24:.1f} days" if budget.hours >= 48 else f"{budget.hours:.1f} hours"
    yield "time", f"{length}, {device_hours:,.0f} device-hours, at {budget.speed:,.0f} images/s"
    nearest = "the published run nearest in size" + (" (far larger: expect less)" if unlike else "")
    yield (
        "",
        f"ASSUMED: {budget.utilisation:.0%} of the peak of {budget.peak / 1e12:g} TFLOP/s, as {nearest} had of A100s",
    )
    energy = device_hours * budget.device.power / 1e6
    yield "energy", f"{energy:.2f} MWh by the devices at {budget.device.power:g} W, without hosts and cooling"
    yield (
        "",
        f"{WHOLE_SYSTEM * energy:.2f} MWh if they add as much as in the paper ({WHOLE_SYSTEM} times the A100s' power)",
    )


def _disk_rows(budget: Budget) -> Iterator[tuple[str, str]]:
    t, model, profiles = budget.cfg.training, 4 * budget.parameters, len(budget.cfg.training.ema_sigma_rel)
    snapshots = -(-t.total_nimg // t.snapshot_nimg) * profiles
    each = f"{_gb(model).strip()}, {profiles} each {t.snapshot_nimg} images"
    yield "disk", f"{_gb(snapshots * model)} {snapshots} snapshots of {each}"
    yield "", f"{_gb(2 * (3 + profiles) * model)} the two newest checkpoints"


def _count(n: float) -> str:
    return f"{n / 1e9:,.1f} G" if n >= 1e10 else f"{n / 1e6:,.1f} M"


def _gib(n: float) -> str:
    return f"{n / 2**30:8.1f} GiB" if n >= 2**30 else f"{n / 2**20:8.1f} MiB"


def _gb(n: float) -> str:
    return f"{n / 1e9:8,.1f} GB " if n >= 1e9 else f"{n / 1e6:8,.1f} MB "
