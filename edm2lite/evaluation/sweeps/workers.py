"""Who works on a sweep and is alive: each worker keeps a file fresh that the others look at. Imports no torch.

Optuna's own heartbeat needs a database. A file works on whatever file system the journal lies on; its age is told by the file
server's clock alone, because clocks of nodes differ.
"""

import json
import os
import socket
import threading
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Self

from edm2lite.files import alive, write_json
from edm2lite.ranks import rank_from_environment

BEAT_S = 15
STALE_S = 300  # a worker on another machine that was silent for so long is dead


class Worker:
    """This process as a worker; a context manager, alive while inside.

    Args:
        folder: Where all workers of the sweep keep their files.

    Attributes:
        name: Unique, also after a requeue.
        index, count: Its number among those started together.
    """

    def __init__(self, folder: Path):
        self.folder, rank = folder, rank_from_environment()
        array = os.environ.get("SLURM_ARRAY_TASK_ID"), os.environ.get("SLURM_ARRAY_TASK_COUNT")
        if rank.count == 1 and all(text is not None and text.isdecimal() for text in array):
            self.index, self.count = int(array[0] or 0), int(array[1] or 1)
        else:
            self.index, self.count = rank.index, rank.count
        self.name = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._path, self._stop = folder / f"{self.name}.json", threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        job = {name: os.environ[name] for name in ("SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID") if name in os.environ}
        write_json(self._path, {"machine": _machine(), "pid": os.getpid(), **job})
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        self._path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_S):
            self._touch()

    def _touch(self) -> None:
        with suppress(OSError):  # a file server that is away for a moment must not end the thread
            os.utime(self._path)  # the server's clock

    def is_dead(self, name: str) -> bool:
        """Whether another worker has ended: said so, was killed on this machine, or has been silent for long."""
        if name == self.name:
            return False
        path = self.folder / f"{name}.json"
        try:
            about, changed = json.loads(path.read_text()), path.stat().st_mtime
        except (OSError, ValueError):
            return not path.exists()
        if about["machine"] == _machine() and not alive(about["pid"]):
            return True
        self._touch()
        return self._path.stat().st_mtime - changed > STALE_S


def _machine() -> str:
    """Where a process id means something: the host, and in containers the space of process ids."""
    try:
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()
