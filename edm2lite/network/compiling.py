"""torch.compile as we use it: one graph, static shapes, a cache that stays, and its time shown."""

import functools
import logging
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

from edm2lite.files import cache_dir
from edm2lite.ranks import is_first_rank

# torch's limit of 8 is for functions that never settle; ours have a graph for each block and batch size
_MOST_GRAPHS = 10_000

R = TypeVar("R")


def compiled(function: Callable[..., R], what: str, *, cudagraphs: bool = False) -> Callable[..., R]:
    """A function, compiled when it is called; a graph break is an error.

    Static shapes: another shape, dtype or grad mode compiles anew. How long that takes is said on stderr. Compiled code lies in
    `cache_dir()/compiled` (or TORCHINDUCTOR_CACHE_DIR), where the next process finds it.

    Args:
        function: Of tensors and modules.
        what: Its name in messages.
        cudagraphs: Replay the kernels as one CUDA graph, for inference. The result of a call is then overwritten by the next
            call of any such function: copy it, or compute with it before.
    """
    _CLOCK.listen()
    call = torch.compile(function, fullgraph=True, dynamic=False, options={"triton.cudagraphs": cudagraphs})

    @functools.wraps(function)
    def named(*args: Any, **kwargs: Any) -> R:
        _CLOCK.what = what
        return call(*args, **kwargs)

    return named


def compile_(module: nn.Module, what: str, *, cudagraphs: bool = False) -> None:
    """Compile a module's forward, in place: its names and its state stay. Arguments as of `compiled`."""
    module._compiled_call_impl = compiled(module._call_impl, what, cudagraphs=cudagraphs)


class _Clock:
    """Says when torch.compile begins and how long it took; sets it up."""

    def __init__(self) -> None:
        self.what, self._said, self._started = "", "", 0.0

    def listen(self) -> None:
        """From now on, also after `torch.compiler.reset()`, which forgets who listens."""
        import torch._dynamo.callback  # takes two seconds, which `import edm2lite` should not
        from torch._inductor.runtime.runtime_utils import default_cache_dir

        default = default_cache_dir()
        if os.environ.get("TORCHINDUCTOR_CACHE_DIR", default) == default:  # torch sets it itself
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache_dir() / "compiled")
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # on a CPU it warns that there is no GPU
        torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = _MOST_GRAPHS
        torch._dynamo.config.optimize_ddp = False  # it would split the graph, and takes no recomputing
        if is_first_rank() and self._start not in torch._dynamo.callback.callback_handler.start_callbacks:
            torch._dynamo.on_compile_start(self._start)
            torch._dynamo.on_compile_end(self._end)

    def _start(self, *about: object) -> None:
        if _records(about):
            return
        if self.what != self._said:
            folder = os.environ["TORCHINDUCTOR_CACHE_DIR"]
            print(f"compiling {self.what}; kept for the next time in {folder}", file=sys.stderr)
        self._said, self._started = self.what, time.perf_counter()

    def _end(self, *about: object) -> None:
        if not _records(about):
            print(f"compiled {self.what} in {time.perf_counter() - self._started:.0f} s", file=sys.stderr)


def _records(about: tuple[object, ...]) -> bool:
    """Whether torch tells of a CUDA graph that it records, which is no compiling."""
    return "CUDAGRAPH_RECORDING" in repr(about)


_CLOCK = _Clock()
