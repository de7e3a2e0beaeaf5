"""The device that computes."""

import torch

from edm2lite.errors import UserError
from edm2lite.ranks import local_rank


def pick_device(name: str) -> torch.device:
    """A device by name; "auto" is a GPU if there is one: the first, or that of this process's place on its machine.

    Raises:
        UserError: If the device is not there.
    """
    if name == "auto":
        name = f"cuda:{local_rank() % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as e:
        raise UserError(f"device {name!r} is not available here ({str(e).splitlines()[0]}); try cpu or auto") from e
    return device
