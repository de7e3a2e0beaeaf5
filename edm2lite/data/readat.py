"""Reads at an offset, from many files of any size."""

import os
import resource
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from edm2lite.errors import UserError

_OPENING = threading.Lock()


class Files:
    """Reads at offsets in a list of files, each opened when first needed.

    Threads may share it if they read from neighbouring files: of hundreds of open files the first opened is closed.

    pread, no memory map: pages of a map stay in the resident memory of every process that touched them until they are given
    back, while here only the system's page cache holds them, once for all processes; a file that was cut short is an error
    that can be told instead of the signal SIGBUS; and a forked worker shares no file position with its parent.
    """

    def __init__(self, paths: Sequence[str | os.PathLike]):
        self.paths = [os.fspath(path) for path in paths]
        self._fds: dict[int, int] = {}  # in the order of their opening

    def read(self, file: int, offset: int, size: int) -> bytes:
        """Up to `size` bytes of a file, by its place in the list; fewer only at its end."""
        return os.pread(self._fd(file), size, offset)

    def read_into(self, file: int, offset: int, out: np.ndarray) -> None:
        """Fill a contiguous array with a file's bytes from `offset` on.

        Raises:
            UserError: If the file ends before.
        """
        rest = out.data.cast("B")
        while rest.nbytes:
            count = os.preadv(self._fd(file), [rest], offset)
            if not count:
                raise UserError(f"{self.paths[file]} ends too soon; it was cut short: copy it again, or make it anew")
            rest, offset = rest[count:], offset + count

    def _fd(self, file: int) -> int:
        if file not in self._fds:
            with _OPENING:
                if file not in self._fds:  # no other thread has opened it meanwhile
                    if len(self._fds) >= resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2:
                        os.close(self._fds.pop(next(iter(self._fds))))
                    self._fds[file] = os.open(self.paths[file], os.O_RDONLY)
        return self._fds[file]

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": self.paths, "_fds": {}}  # another process opens the files itself

    def __del__(self) -> None:
        for fd in self.__dict__.get("_fds", {}).values():
            os.close(fd)
