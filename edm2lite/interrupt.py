"""Being asked to stop: signals only set a flag, which the training loop reads between two steps. Imports no torch.

Saving inside a signal handler would meet the step half done (torn checkpoints) and the other ranks elsewhere (deadlock).
"""

import os
import signal
import threading
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


def _main_thread() -> bool:
    """Python lets no other thread set handlers."""
    return threading.current_thread() is threading.main_thread()


def ignore_in_worker(worker_id: int) -> None:
    """For data workers: SLURM signals every process of a job, and a worker that dies takes the step to be saved along."""
    for signum in _SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
