"""Float32 that is float32, whatever the program around has set."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)
R = TypeVar("R")


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """No autocast and no TF32 while inside; what was set before is set again.

    torch allows TF32 in convolutions by default: features of the same images would differ between a command that loaded a
    denoiser, which switches it off, and one that did not.
    """
    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = False
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed


def in_float32(method: Callable[[M, Tensor], R]) -> Callable[[M, Tensor], R]:
    """A method of a module that takes one tensor, in full precision; the tensor is moved to the module's device."""

    @functools.wraps(method)
    def wrapped(module: M, x: Tensor) -> R:
        device = next(chain(module.parameters(), module.buffers())).device
        with full_precision(device):
            return method(module, x.to(device))

    return wrapped
