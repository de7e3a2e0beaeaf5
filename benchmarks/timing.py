"""Time and memory of a call."""

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from edm2lite.training.memory import Peak, free

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Spread:
    """Several measurements of one thing; `str` is the median, and least ... most."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def __str__(self) -> str:
        if len(self.values) == 1:
            return number(self.median)
        return f"{number(self.median)} ({number(min(self.values))} ... {number(max(self.values))})"


def number(value: float) -> str:
    """Three digits, without an exponent where that is readable."""
    return f"{value:.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.3g}"


def ratio(ours: Spread, baseline: Spread) -> Spread:
    """How many times as fast: turn by turn where both had as many (they were timed in turns), else of the medians."""
    if len(ours.values) == len(baseline.values):
        return Spread(tuple(b / a for a, b in zip(ours.values, baseline.values, strict=True)))
    return Spread((baseline.median / ours.median,))


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(run: Callable[[], Any], device: torch.device) -> float:
    """Of one call."""
    synchronize(device)
    start = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - start


def in_turns(
    runs: Mapping[K, Callable[[], Any]], device: torch.device, repeats: int = 5, warmup: int = 1
) -> dict[K, Spread]:
    """Seconds a call of each. In turns, so that a busy machine is busy for all of them.

    Args:
        runs: What is timed, by name.
        device: That is waited for.
        repeats: Timed turns.
        warmup: Turns before, which do not count.
    """
    times: dict[K, list[float]] = {name: [] for name in runs}
    for turn in range(warmup + repeats):
        for name, run in runs.items():
            spent = seconds(run, device)
            if turn >= warmup:
                times[name].append(spent)
    return {name: Spread(tuple(spent)) for name, spent in times.items()}


def memory_of(run: Callable[[], Any], device: torch.device) -> tuple[str, float | None]:
    """What the peak of a call is called, and the peak in MB; None: this machine does not tell.

    CUDA: everything allocated by torch at the peak, weights included. CPU: by how much the peak of the process's resident
    memory rose during the call, what was allocated before not included.
    """
    what = "peak allocated, MB" if device.type == "cuda" else "peak RSS grown, MB"
    free(device)
    peak = Peak(device)
    try:
        peak.restart()
    except OSError:
        run()
        return what, None
    run()
    synchronize(device)
    return what, max(0, peak.bytes()) / 1e6
