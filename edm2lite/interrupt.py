"""Being asked to stop: signals only set a flag, which the training loop reads between two steps. Imports no torch.

Saving inside a signal handler would meet the step half done (torn checkpoints) and the other ranks elsewhere (deadlock).
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Interrupt:
    """Flag of this process: which signal asked it to stop; 0: none. A context manager that handles signals while inside.

    Entered before the slow imports, so that a signal meanwhile is not lost. A second Ctrl-C stops at once.
    """

    def __init__(self) -> None:
        self.signum = 0
        self._pid = os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {signum: signal.getsignal(signum) for signum in _SIGNALS}
        self.install()
        return self

    def __exit__(self, *exception: object) -> None:
        if _main_thread():
            for signum, handler in self._before.items():
                signal.signal(signum, handler)

    def install(self) -> None:
        """Handle SIGTERM, SIGUSR1 and Ctrl-C from now on; anew after a library put its own handlers in place."""
        if _main_thread():
            for signum in _SIGNALS:
                signal.signal(signum, self._handle)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            return  # a forked data worker: its parent will end it
        if signum == signal.SIGINT and self.signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.signum = signum


@contextmanager
def sigterm_unwinds() -> Iterator[None]:
    """While inside, SIGTERM (SLURM's at the time limit, a launcher's) ends the process as an exception, with status 143.

    So what was gathered is written as after Ctrl-C. Where somebody else handles the signal, that stays.
    """

    def unwind(signum: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + signum)

    mine = _main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if mine:
        signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        if mine:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _main_thread() -> bool:
    """Python lets no other thread set handlers."""
    return threading.current_thread() is threading.main_thread()


def ignore_in_worker(worker_id: int) -> None:
    """For data workers: SLURM signals every process of a job, and a worker that dies takes the step to be saved along."""
    for signum in _SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
