"""Writing that is never seen half done: temporary file, fsync, rename."""

import hashlib
import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

UMASK = os.umask(0)  # it can only be read by setting it, which is done here once, before there are threads that write
os.umask(UMASK)


@contextmanager
def atomic_path(path: str | os.PathLike, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is renamed to `path`, else removed.

    Args:
        path: Final path; its directory is made if need be.
        durable: Wait until the bytes are on disk, so that a power cut cannot leave an empty file either.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")  # pids repeat over nodes
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~UMASK)  # safetensors writes files that only their owner can read
        if durable:
            _fsync(temporary)
        os.replace(temporary, path)
        if durable:
            _fsync(path.parent)  # makes the rename itself durable
    finally:
        temporary.unlink(missing_ok=True)


def _fsync(path: Path) -> None:
    """Flush a file or directory to disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove_abandoned(folder: Path) -> None:
    """Remove what processes of this machine left behind that were killed inside `atomic_path` in a folder."""
    for path in folder.glob(".*.tmp"):
        found = re.search(rf"\.{re.escape(socket.gethostname())}\.(\d+)\.tmp$", path.name)
        if found and not alive(int(found[1])):
            path.unlink(missing_ok=True)


def alive(pid: int) -> bool:
    """Whether a process of this machine has not ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text)


def write_json(path: str | os.PathLike, data: Any) -> None:
    """Write JSON atomically, indented."""
    write_text(path, json.dumps(data, indent=2) + "\n")


def create_json(path: str | os.PathLike, data: Any) -> bool:
    """Write JSON unless the file exists; of several processes that try at once exactly one does, and is told True."""
    path = Path(path)
    whole = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.new")
    write_json(whole, data)
    try:
        os.link(whole, path)  # unlike a rename, fails if there is one
    except FileExistsError:
        return False
    finally:
        whole.unlink()
    return True


def sha256(path: str | os.PathLike) -> str:
    """Hex digest of a file's bytes."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def digest(data: Any) -> str:
    """Hex digest of plain data, 32 digits: equal for equal data, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:32]


def cache_dir() -> Path:
    """Where files go that can be made again: $EDM2LITE_CACHE, or ~/.cache/edm2lite."""
    return Path(os.environ.get("EDM2LITE_CACHE", Path.home() / ".cache" / "edm2lite"))
