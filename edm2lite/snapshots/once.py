"""Work that several processes want done, done by one of them. Imports no torch."""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def one_at_a_time(path: str | os.PathLike, what: str) -> Iterator[None]:
    """Hold the lock file `path` while inside; who comes later waits, and should then look whether the work is done.

    A record lock, as in `edm2lite.training.lock`: the system releases it however its process ends. Where the file system keeps
    no locks nobody waits: the work is then done several times, which atomic writes make harmless.

    Args:
        path: Lock file, made if need be.
        what: What is waited for, printed once.
    """
    with _open(Path(path)) as f:
        try:
            fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            if isinstance(e, BlockingIOError | PermissionError):  # somebody else has it
                print(f"waiting for another process: {what}", file=sys.stderr, flush=True)
                fcntl.lockf(f, fcntl.LOCK_EX)
        yield


def _open(path: Path, attempts: int = 10) -> IO[str]:
    """The lock file, made with its folder, which whoever ends may remove at this very moment."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(path, "a+")
    except (FileExistsError, FileNotFoundError):
        if attempts == 1:
            raise
        return _open(path, attempts - 1)


@contextmanager
def unless_another(path: str | os.PathLike) -> Iterator[bool]:
    """Whether this process may do the work: False while another one holds the lock file `path`, and does it.

    The file is removed at the end. Who comes then should look whether the work is done. Without locks on the file system: True.

    Args:
        path: Lock file, in a folder that is there while there is work.
    """
    path = Path(path)
    if not path.parent.is_dir():
        yield True
        return
    with open(path, "a+") as f:
        try:
            fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            yield False
            return
        except OSError:  # no locks here: the work may be done several times
            pass
        try:
            yield True
        finally:
            path.unlink(missing_ok=True)
