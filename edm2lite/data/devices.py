"""The device that computes."""

import torch

from edm2lite.errors import UserError
from edm2lite.ranks import local_rank


def pick_device(name: str) -> torch.device:
    """A device by name; "cuda" is the GPU of this process's place on its machine, and "auto" too if there is one, else cpu.

    A GPU becomes the current one, so that libraries that name none do not open another.

    Raises:
        UserError: If the device is not there.
    """
    if name in ("auto", "cuda") and torch.cuda.is_available():
        name = f"cuda:{local_rank() % torch.cuda.device_count()}"
    name = "cpu" if name == "auto" else name
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as e:
        raise UserError(f"device {name!r} is not available here ({str(e).splitlines()[0]}); try cpu or auto") from e
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    return device
