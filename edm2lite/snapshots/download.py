"""Files behind URLs, downloaded once into the cache. Imports no torch.

A download is there whole or not at all; FILE.json beside it says where it came from.
"""

import errno
import hashlib
import json
import os
from datetime import UTC, datetime
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from edm2lite import __version__
from edm2lite.errors import UserError
from edm2lite.files import atomic_path, cache_dir, remove_abandoned, sha256, write_json
from edm2lite.progress import progress_bar
from edm2lite.snapshots.once import one_at_a_time

SUFFIXES = (".pkl", ".safetensors")
_BLOCK = 2**20
_TIMEOUT_S = 60
_OFFLINE = "download it on another machine and name the file instead"


class AbsentError(UserError):
    """The server is there, the file is not."""


def is_url(path: str) -> bool:
    """Whether a path is the URL of a file that can be downloaded."""
    return path.startswith(("http://", "https://", "file://"))


def download(url: str, expected: str | None = None) -> Path:
    """The file behind a URL in the cache, downloaded if it is not there; of several processes one does it, the others wait.

    Args:
        url: http, https or file; without `expected` its path must end in .pkl or .safetensors.
        expected: sha256 that the file must have; a download that has another is not kept.

    Raises:
        AbsentError: If there is no such file.
        UserError: If it cannot be had: no network, disk full, another hash.
    """
    name = _file_name(url)
    if expected is None and not name.endswith(SUFFIXES):
        raise UserError(f"{url} names no model file; it must end in {' or '.join(SUFFIXES)}")
    path = cache_dir() / "models" / hashlib.sha256(url.encode()).hexdigest()[:16] / name
    if not _whole(path):
        with one_at_a_time(path.parent / ".lock", f"it downloads {url}"):
            if not _whole(path):
                remove_abandoned(path.parent)
                _download(url, path, expected)
    return path


def _file_name(url: str) -> str:
    try:
        return os.path.basename(unquote(urlsplit(url).path))
    except ValueError as e:
        raise UserError(f"{url} is no URL ({e}); check it") from e


def _whole(path: Path) -> bool:
    """Whether a download has come to its end."""
    return path.is_file() and noted(path).get("size") == path.stat().st_size


def _download(url: str, path: Path, expected: str | None) -> None:
    try:
        with atomic_path(path) as temporary:
            with open(temporary, "wb") as file:
                digest, size = _copy(url, file, path.name)
            if expected not in (None, digest):
                raise UserError(
                    f"{url} has sha256 {digest}, not {expected}; it was not kept; get the right URL or the right sha256"
                )
    except HTTPError as e:
        e.close()
        kind = AbsentError if e.code in (403, 404, 410) else UserError  # 403: how object stores say 404
        raise kind(f"{url} cannot be downloaded (HTTP {e.code} {e.reason})") from e
    except (OSError, HTTPException) as e:
        raise _failed(url, path, e) from e
    date = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(_sidecar_path(path), {"url": _without_secrets(url), "sha256": digest, "size": size, "date": date})


def _copy(url: str, file: IO[bytes], name: str) -> tuple[str, int]:
    """Copy what is behind a URL into a file; returns sha256 and size."""
    request = Request(url, headers={"User-Agent": f"edm2lite/{__version__}", "Accept-Encoding": "identity"})
    digest, size = hashlib.sha256(), 0
    with urlopen(request, timeout=_TIMEOUT_S) as response:
        if response.headers.get_content_type() == "text/html":
            raise HTTPException("it is a web page, no model file")
        length = int(response.headers.get("Content-Length") or 0)
        with progress_bar(length, name, unit="B") as bar:
            while block := response.read(_BLOCK):
                file.write(block)
                digest.update(block)
                size += len(block)
                bar.update(len(block))
    if length and size != length:
        raise HTTPException(f"the connection ended after {size} of {length} bytes")
    return digest.hexdigest(), size


def _without_secrets(url: str) -> str:
    """A URL without user, password, query and fragment, fit to be written down."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _failed(url: str, path: Path, error: Exception) -> UserError:
    reason = getattr(error, "reason", error)
    if isinstance(reason, FileNotFoundError):
        return AbsentError(f"{url} cannot be downloaded (there is no such file)")
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"{url} does not fit on the disk of {path.parent}; make room, or set EDM2LITE_CACHE elsewhere")
    if isinstance(error, URLError | HTTPException | TimeoutError | ConnectionError):
        what = " ".join(str(getattr(reason, "strerror", None) or reason).split())
        return UserError(f"{url} cannot be downloaded ({what}); check the network and try again, or {_OFFLINE}")
    return UserError(f"{url} cannot be written to {path.parent} ({error}); set EDM2LITE_CACHE to another folder")


def file_hash(path: Path) -> str:
    """sha256 of a file; of a download, the one it had when it came, while its size is the same."""
    if _whole(path):
        return str(noted(path)["sha256"])
    status = path.stat()
    return _hash_of(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _hash_of(path: Path, size: int, mtime_ns: int) -> str:
    """The arguments besides the path are only there to notice a change."""
    return sha256(path)


def _sidecar_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def noted(path: Path) -> dict[str, Any]:
    """What was noted about a download: url, sha256, size, date; empty for any other file."""
    try:
        found = dict(json.loads(_sidecar_path(path).read_text()))
    except (OSError, ValueError, TypeError):
        return {}
    return found if {"url", "sha256", "size"} <= found.keys() else {}
