"""What the ranks of a training do together."""

import atexit
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, NamedTuple, TypeVar

import lightning as L
import torch
from torch import Tensor

from edm2lite.errors import UserError, first_line
from edm2lite.interrupt import Interrupt

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


def _in_group() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


@atexit.register
def _part() -> None:
    """Leave the process group before the process ends, well or badly: its threads can abort an interpreter that exits."""
    if _in_group():
        torch.distributed.destroy_process_group()


def abandon() -> None:
    """Leave the process group at once, where this rank failed: NCCL's orderly end waits for ranks that may wait for it."""
    if _in_group() and "nccl" in torch.distributed.get_backend():
        torch.distributed.distributed_c10d._abort_process_group()


def reduce_(tensor: Tensor, operation: str) -> Tensor:
    """Sum ("SUM") or largest value ("MAX") over all ranks, in place. A collective; Lightning's adds a barrier."""
    if _in_group():
        torch.distributed.all_reduce(tensor, getattr(torch.distributed.ReduceOp, operation))
    return tensor


def sum_later(tensor: Tensor) -> Callable[[], Any]:
    """Begin to sum over all ranks. What is returned gives the sum, as lists; it waits for it, but for nothing begun after it.

    A collective. On CUDA the sum is copied to memory that the device writes by itself.
    """
    work = None
    if _in_group():
        work = torch.distributed.all_reduce(tensor, async_op=True)
    if tensor.device.type != "cuda":
        return lambda: _after(work.wait if work else None, tensor)
    if work is not None:
        work.wait()  # the stream waits, this process does not
    there = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()
    return lambda: _after(copied.synchronize, there)


def _after(wait: Callable[[], Any] | None, tensor: Tensor) -> Any:
    if wait is not None:
        wait()
    return tensor.tolist()


def everyones(value: T) -> list[T]:
    """What each rank has, on every rank; small plain data. A collective."""
    if not _in_group():
        return [value]
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


class InStep(NamedTuple):
    """What iterators of all ranks gave, if they came to their end: else what was wrong, or the signal that ended them."""

    parts: list[Any]
    problem: str
    signum: int


def in_step(steps: Generator[Any, None, None], interrupt: Interrupt, device: torch.device) -> InStep:
    """Exhaust a generator on every rank, item by item, some perhaps longer than others; all stop together. A collective.

    Args:
        steps: Of this rank, without collectives of its own; whatever it raises ends all of them.
        interrupt: A signal on any rank ends them, too.
        device: Where the ranks compare.
    """
    end, parts, problem = object(), list[Any](), ""
    with closing(steps):
        while True:
            try:
                item = next(steps, end)
            except Exception as e:
                item, problem = end, f"{'' if isinstance(e, UserError) else f'{type(e).__name__}: '}{first_line(e)}"
            parts += [] if item is end else [item]
            state = torch.tensor([bool(problem), interrupt.signum, item is not end], device=device)
            failed, signum, unfinished = reduce_(state, "MAX").tolist()
            if failed or signum or not unfinished:
                break
    everything = everyones((problem, [] if failed or signum else parts))
    problems = [text for text, _ in everything if text]
    return InStep([part for _, some in everything for part in some], problems[0] if problems else "", signum)
