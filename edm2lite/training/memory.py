"""Peak memory of a device, or of this process on a CPU."""

import ctypes
import gc
import re
from pathlib import Path

import torch

_SELF = Path("/proc/self")


class Peak:
    """The most memory in use: of tensors on a CUDA device; on a CPU what the process holds beyond what it held before (Linux).

    Args:
        device: Whose.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self._before = 0 if device.type == "cuda" else _resident("VmRSS")

    def restart(self) -> None:
        """Forget the peak so far."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            (_SELF / "clear_refs").write_text("5")

    def bytes(self) -> int:
        """Since the restart."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return _resident("VmHWM") - self._before


def free(device: torch.device) -> None:
    """Give back what is no longer in use."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    else:
        getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)(0)  # else the C library keeps it


def _resident(what: str) -> int:
    """Bytes of this process in memory: VmRSS now, VmHWM at most."""
    found = re.search(rf"{what}:\s*(\d+) kB", (_SELF / "status").read_text())
    assert found is not None
    return int(found[1]) * 1024
