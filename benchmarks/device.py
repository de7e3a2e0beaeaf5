"""What the device is, and what it can do at best, measured."""

import gc
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from timing import seconds

from edm2lite.network.precision import DTYPES

SWEEP = {"cuda": (2048, 4096, 8192, 16384), "cpu": (256, 512, 1024, 2048)}  # sides of the square matrices
RUNS = 7  # of each product


def describe(device: torch.device) -> dict[str, Any]:
    """Device and versions; nothing that names the machine."""
    if device.type == "cuda":
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            driver = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout.split()[0]
        except (OSError, subprocess.SubprocessError, IndexError):
            driver = "unknown"
        about = {
            "name": torch.cuda.get_device_name(device), "driver": driver, "CUDA": torch.version.cuda,
            "cuDNN": torch.backends.cudnn.version(),
        }  # fmt: skip
    else:
        info = Path("/proc/cpuinfo")
        model = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
        about = {"name": f"{model[1] if model else platform.machine()} CPU"}
    load = f"{os.getloadavg()[0]:.1f} of {os.cpu_count()} cores at the start"
    return about | {
        "torch": torch.__version__, "Python": platform.python_version(), "threads": torch.get_num_threads(), "load": load
    }  # fmt: skip


def matmul_peak(device: torch.device, budget: float = 2.0) -> dict[str, dict[str, float]]:
    """The highest rate of a square matrix product of random numbers, FLOP/s and its side, by dtype.

    Sides are swept upwards until the next would take more than `budget` seconds. Float32 is float32: TF32 is off.
    """
    tf32 = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    peaks = {}
    for name, dtype in DTYPES.items():
        best = {"FLOP/s": 0.0, "side": 0.0}
        for side in SWEEP[device.type]:
            rate, spent = _matmul_rate(side, dtype, device)
            if rate > best["FLOP/s"]:
                best = {"FLOP/s": rate, "side": float(side)}
            if 8 * spent * RUNS > budget:
                break
        peaks[name] = best
    torch.backends.cuda.matmul.allow_tf32 = tf32
    return peaks


def _matmul_rate(side: int, dtype: torch.dtype, device: torch.device) -> tuple[float, float]:
    """FLOP/s of the best of several runs, and seconds of a product."""
    generator = torch.Generator(device).manual_seed(0)
    a, b = (torch.randn(side, side, generator=generator, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    once = seconds(lambda: torch.mm(a, b, out=out), device)
    once = min(once, seconds(lambda: torch.mm(a, b, out=out), device))
    inner = max(1, min(50, int(0.05 / max(once, 1e-6))))

    def several() -> None:
        for _ in range(inner):
            torch.mm(a, b, out=out)

    spent = min(seconds(several, device) / inner for _ in range(RUNS - 2))
    return 2 * side**3 / spent, spent


def release_memory(device: torch.device) -> None:
    """Forget compiled code (of which torch allows so many of a function) with its CUDA graphs, and free what nobody holds."""
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
