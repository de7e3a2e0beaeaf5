"""One process group a run directory. Imports no torch."""

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from edm2lite.errors import UserError
from edm2lite.ranks import is_first_rank

PATIENCE_S = 120  # a requeued job meets its own former self, which a file server may believe alive for a while
_HELD: set[Path] = set()


@contextmanager
def run_lock(run_dir: Path) -> Iterator[None]:
    """Hold the run directory's lock while inside; only rank 0 takes it.

    A record lock (lockf): the system releases it however the process ends, data workers do not inherit it, and it works
    across the machines that share the file system.

    Raises:
        UserError: If another process holds it; says which.
    """
    if not is_first_rank():
        yield
        return
    run_dir.mkdir(parents=True, exist_ok=True)
    _refuse_second_use(run_dir)
    with open(run_dir / ".lock", "a+") as f:
        _acquire(f, run_dir)
        f.truncate(0)
        json.dump(_me(), f)
        f.flush()
        _HELD.add(run_dir.resolve())
        try:
            yield
        finally:
            _HELD.discard(run_dir.resolve())


def check_unlocked(run_dir: Path) -> None:
    """Raise the UserError of `run_lock` early, before the slow imports."""
    path = run_dir / ".lock"
    if path.exists() and is_first_rank():
        _refuse_second_use(run_dir)
        with open(path, "a+") as f:
            _acquire(f, run_dir)


def _refuse_second_use(run_dir: Path) -> None:
    """The system does not keep a process from its own locks, and forgets them when it opens the file again."""
    if run_dir.resolve() in _HELD:
        raise UserError(f"{run_dir} is in use by another training of this very process; choose another run_dir")


def _acquire(f: IO[str], run_dir: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            if e.errno not in (errno.EACCES, errno.EAGAIN):
                raise UserError(
                    f"the file system of {run_dir} keeps no locks ({e.strerror}); choose another --run_dir, have it "
                    "mounted with flock (Lustre) or lockd (NFS), or set --trainer.lock false and never train there twice"
                ) from e
        holder = _holder(f)
        mine = holder.get("job") is not None and holder["job"] == _me()["job"]
        if not mine or time.monotonic() > deadline:
            who = ", ".join(f"{k} {v}" for k, v in holder.items() if v is not None) or "unknown"
            raise UserError(
                f"{run_dir} is in use by another training ({who}); wait for it, stop it, or choose another --run_dir"
            )
        time.sleep(1)


def _holder(f: IO[str]) -> dict[str, str | int | None]:
    """What the holder wrote about itself; empty while it is about to."""
    f.seek(0)
    try:
        return dict(json.loads(f.read()))
    except ValueError:
        return {}


def _me() -> dict[str, str | int | None]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "job": os.environ.get("SLURM_JOB_ID")}
