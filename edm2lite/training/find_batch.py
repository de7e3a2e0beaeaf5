"""`train.py --find_batch true`: which micro-batch, recomputing and attention kernel are fastest on the device that is here."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from edm2lite.config import TrainConfig
from edm2lite.errors import UserError
from edm2lite.network.attention import AUTO, BACKENDS
from edm2lite.progress import progress_bar
from edm2lite.ranks import rank_from_environment
from edm2lite.training.bench import Bench, Measured, Setting
from edm2lite.training.rundir import check_batch, preflight
from edm2lite.training.trainer import check_devices

_FASTER = 1.02  # what counts as faster, in noise
_PATIENCE = 2  # sizes in a row that are not


def find_batch(cfg: TrainConfig) -> None:
    """Measure, and print a table and the options to set; nothing is written.

    Raises:
        UserError: If the configuration cannot be run here, several processes were started, or not even one image fits.
    """
    if rank_from_environment().count > 1:
        raise UserError("--find_batch measures one device, but several processes were started; start it as one process")
    preflight(cfg)
    share = cfg.training.batch_size // check_batch(cfg)
    check_devices(replace(cfg.trainer, devices=1))
    bench = Bench(cfg, share)
    found: list[Measured] = []
    with progress_bar(2 * len(sizes(share)) + len(BACKENDS), "find_batch", unit="setting") as bar:
        for recompute in (False, True):
            for measured in climb(bench, share, recompute):
                found.append(measured)
                bar.update()
        if not found:
            raise UserError(
                f"not one image fits on {bench.device}, even with training.activation_checkpointing; shard the network over "
                "several devices (--trainer.strategy fsdp)"
            )
        best = fastest(found)
        for backend in bench.able_backends():
            other = bench.measure(best.setting._replace(attention=backend))
            found += [other] if other else []
            bar.update()
    report(cfg, bench.device, share, found)


def sizes(share: int) -> list[int]:
    """Micro-batches to try: divisors of this device's share, each at least half as large again as the one before."""
    chosen = [1]
    for size in range(2, share + 1):
        if share % size == 0 and (2 * size >= 3 * chosen[-1] or size == share):
            chosen.append(size)
    return chosen


def climb(bench: Bench, share: int, recompute: bool) -> Iterator[Measured]:
    """Measure ever larger micro-batches, until memory ends or they are no longer faster."""
    best, slower = 0.0, 0
    for size in sizes(share):
        measured = bench.measure(Setting(size, recompute))
        if measured is None:
            return
        yield measured
        slower = 0 if measured.speed > _FASTER * best else slower + 1
        best = max(best, measured.speed)
        if slower == _PATIENCE:
            return


def fastest(found: Sequence[Measured]) -> Measured:
    """The fastest, unless one measured earlier is as fast to within the noise: it is smaller, or plainer."""
    best = found[0]
    for measured in found[1:]:
        best = measured if measured.speed > _FASTER * best.speed else best
    return best


def report(cfg: TrainConfig, device: torch.device, share: int, found: Sequence[Measured]) -> None:
    """Print the table, what activation checkpointing costs, and the options to set."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    compiled = "compiled" if cfg.training.compile else "not compiled"
    print(
        f"one {name}, {cfg.training.precision}, {compiled}; {share} of the {cfg.training.batch_size} images of a step fall to "
        "a device\n\nimages together  recomputing  attention   images/s       peak"
    )
    for (size, recompute, attention), speed, memory in found:
        again = "yes" if recompute else "no"
        print(f"{size:15}  {again:11}  {attention:9}  {speed:9.1f}  {memory / 2**20:,.0f} MiB".rstrip())
    for price in prices(found):
        print(price)
    print(f"\nfastest: {' '.join(options(fastest(found).setting))}")
    if cfg.trainer.strategy == "fsdp":
        print(
            "weights, gradients, moments and averages lay whole on this one device; under fsdp each holds a part of them"
        )


def prices(found: Sequence[Measured]) -> Iterator[str]:
    """What activation checkpointing saves and costs, where the same micro-batch was measured with and without."""
    plain = {m.setting.batch_per_device: m for m in found if not m.setting.recompute and m.setting.attention == AUTO}
    for again in (m for m in found if m.setting.recompute and m.setting.attention == AUTO):
        size = again.setting.batch_per_device
        if size in plain:
            saved, slower = 1 - again.memory / plain[size].memory, 1 - again.speed / plain[size].speed
            yield f"activation checkpointing of {size} images: {saved:.0%} less memory, {slower:.0%} slower"


def options(setting: Setting) -> list[str]:
    """The setting as options of train.py."""
    found = [f"--training.batch_per_device {setting.batch_per_device}"]
    if setting.recompute:
        found.append("--training.activation_checkpointing true")
    return found + ([f"--training.attention {setting.attention}"] if setting.attention != AUTO else [])
