"""What the ranks tell each other of every step: loss, gradients, signals. Nobody waits for it.

A step's numbers are read one step later, when they have long been there, so that the device always has work ahead of it; or at
once, before anything is written or looked at. All ranks read the same numbers at the same step, and so do the same.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from edm2lite.errors import UserError
from edm2lite.training.together import sum_later


class NonFiniteError(UserError):
    """Loss or gradients became infinite or NaN; nothing has been written since."""


class Outcome(NamedTuple):
    """One step as all ranks know it; what is a list has an item a rank.

    Attributes:
        step, nimg: Where the run stood before the step.
        losses: Mean loss of an element.
        norms: Norms of the gradients, summed over parameters.
        zeroed: Gradient elements that were not finite and were zeroed.
        signum: Signal that asks to stop; 0: none.
    """

    step: int
    nimg: int
    losses: list[float]
    norms: list[float]
    zeroed: list[int]
    signum: int

    @property
    def loss(self) -> float:
        """Over all ranks."""
        return sum(self.losses) / len(self.losses)

    def check_finite(self) -> None:
        """Raise a NonFiniteError that names the ranks unless loss and gradients are finite on all of them."""
        for what, row in (("loss", self.losses), ("gradients", self.norms)):
            ranks = ", ".join(f"{rank} ({value})" for rank, value in enumerate(row) if not math.isfinite(value))
            if ranks:
                raise NonFiniteError(
                    f"{what} not finite at step {self.step} (nimg {self.nimg}) on rank {ranks}; nothing was written since. "
                    "Check the data; go on with training.nonfinite_gradients=zero, or begin another run_dir with a lower "
                    "training.ref_lr"
                )


class Outcomes:
    """Sends what happened in a step to all ranks, and reads what has come.

    Args:
        rank, world_size: Of this process.
        device: Where the ranks compare.
    """

    def __init__(self, rank: int, world_size: int, device: torch.device):
        self.rank, self.world_size, self.device = rank, world_size, device
        self._sent = deque[tuple[int, int, Callable[[], list[list[float]]]]]()

    def send(self, step: int, nimg: int, loss: Tensor, norm: Tensor, zeroed: Tensor, signum: int) -> None:
        """Send one step; the tensors hold one number each, on the device. A collective."""
        values = torch.zeros(4, self.world_size, dtype=torch.float64, device=self.device)
        values[:3, self.rank] = torch.stack([loss.double(), norm.double(), zeroed.double()])
        values[3, self.rank].fill_(signum)  # an assignment would copy the number from here, and wait
        self._sent.append((step, nimg, sum_later(values)))

    def read(self, leave: int = 0) -> Iterator[Outcome]:
        """The steps sent but not yet read, the oldest first, without the last `leave` of them."""
        while len(self._sent) > leave:
            step, nimg, values = self._sent.popleft()
            losses, norms, zeroed, signals = values()
            yield Outcome(step, nimg, losses, norms, [int(n) for n in zeroed], int(max(signals)))
