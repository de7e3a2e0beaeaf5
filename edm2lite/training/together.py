"""What the ranks of a training do together."""

from collections.abc import Callable
from typing import TypeVar

import lightning as L
import torch
from torch import Tensor

from edm2lite.errors import UserError

T = TypeVar("T")


def on_rank_zero(trainer: L.Trainer, do: Callable[[], T]) -> T:
    """Let rank 0 do something that concerns files, and give its result to all ranks. A collective.

    Raises:
        UserError: On every rank, if rank 0 raised one; nobody waits for a rank that is gone.
    """
    result, problem, bug = None, "", None
    if trainer.is_global_zero:
        try:
            result = do()
        except UserError as e:
            problem = str(e)
        except Exception as e:
            problem, bug = f"rank 0 failed: {e!r}", e
    result, problem = trainer.strategy.broadcast((result, problem))
    if bug is not None:
        raise bug
    if problem:
        raise UserError(problem)
    return result  # type: ignore[return-value]


def part() -> None:
    """Leave the process group, before the process ends: its threads can abort an interpreter that exits."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def reduce_(tensor: Tensor, operation: str) -> Tensor:
    """Sum ("SUM") or largest value ("MAX") over all ranks, in place. A collective; Lightning's adds a barrier."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(tensor, getattr(torch.distributed.ReduceOp, operation))
    return tensor
