"""Index of a ZIP archive with millions of images: offsets and sizes as arrays, made once and kept in the cache.

Python's zipfile holds an object of about 600 bytes for every member in every process. Here the central directory is read
through a map into numpy arrays, which later runs and all workers map and so share.
"""

import hashlib
import json
import mmap
import os
import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edm2lite.data.ziplabels import read_labels
from edm2lite.errors import UserError
from edm2lite.files import cache_dir

IMAGES = (b".png", b".npy")
MEMBER = np.dtype(
    [("offset", "<u8"), ("stored", "<u8"), ("size", "<u8"), ("crc", "<u4"), ("method", "<u2"), ("label", "<i8")]
)
_VERSION = 1  # of the files in the cache
_BLOCK = 1 << 16  # members that are sorted out together
_ENTRY = struct.Struct("<4s6HLLLHHHHHLL")  # a record of the central directory, without its name


class ZipIndex(NamedTuple):
    """The images of an archive in the order of their names.

    Attributes:
        names: bytes [N].
        members: MEMBER [N]: offset of the local header, stored and real size, CRC-32, method (0 stored, 8 deflated), label.
        labelled: Whether dataset.json has labels.
    """

    names: np.ndarray
    members: np.ndarray
    labelled: bool


def open_index(path: str | os.PathLike) -> ZipIndex:
    """Index of an archive, from the cache if it is there; mapped into memory.

    Raises:
        UserError: If the archive is damaged, holds no image, or dataset.json does not fit the images.
    """
    stat = os.stat(path)
    key = json.dumps([_VERSION, os.path.realpath(path), stat.st_size, stat.st_mtime_ns])
    folder = cache_dir() / "zip-index" / hashlib.sha256(key.encode()).hexdigest()[:24]
    if not folder.is_dir():
        _save(folder, build_index(path))
    names, members = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("names", "members"))
    return ZipIndex(names, members, bool(len(members) and members["label"][0] >= 0))


def _save(folder: Path, index: ZipIndex) -> None:
    """Write an index atomically; of several processes that do so at once, the first wins and all are the same."""
    temporary = folder.with_name(f".{folder.name}.{os.uname().nodename}.{os.getpid()}")
    temporary.mkdir(parents=True, exist_ok=True)
    try:
        np.save(temporary / "names.npy", index.names)
        np.save(temporary / "members.npy", index.members)
        os.rename(temporary, folder)
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def build_index(path: str | os.PathLike) -> ZipIndex:
    """Read an archive's central directory and labels; see `open_index`."""
    with open(path, "rb") as f:
        if os.fstat(f.fileno()).st_size == 0:
            raise UserError(f"{path} is empty; copy it again")
        with mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(path, data).index()


def check_zip(path: str | os.PathLike) -> None:
    """Raise a UserError, quickly, unless a file ends as a whole ZIP archive does."""
    with open(path, "rb") as f:
        if os.fstat(f.fileno()).st_size == 0:
            raise UserError(f"{path} is empty; copy it again")
        with mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _Reader(path, data).directory()


class _Reader:
    """Takes an archive apart (PKWARE's APPNOTE 6.3, sections 4.3 to 4.5)."""

    def __init__(self, path: str | os.PathLike, data: mmap.mmap):
        self.path, self.data = path, data

    def index(self) -> ZipIndex:
        labels, names, blocks = None, [], []
        for block in self._blocks(*self.directory()):
            for i in [i for i, name in enumerate(block[0]) if name == b"dataset.json"]:
                labels = self._extract(block[1][i])
            images = [i for i, name in enumerate(block[0]) if name.lower().endswith(IMAGES)]
            names.append(np.array([block[0][i] for i in images], "S"))
            blocks.append(block[1][images])
        all_names = np.concatenate(names) if names else np.zeros(0, "S1")
        order = np.argsort(all_names, kind="stable")
        all_names, members = all_names[order], np.concatenate(blocks)[order] if blocks else np.zeros(0, MEMBER)
        self._check(all_names)
        members["label"] = read_labels(self.path, labels, all_names)
        return ZipIndex(all_names, members, bool(members["label"][0] >= 0))

    def _check(self, names: np.ndarray) -> None:
        if not len(names):
            raise UserError(f"{self.path} holds no .png or .npy; make such an archive with edm2lite data convert")
        twice = np.flatnonzero(names[1:] == names[:-1])
        if len(twice):
            raise self._damaged(f"it holds {os.fsdecode(names[twice[0]])} twice")

    def directory(self) -> tuple[int, int, int]:
        """Offset, size and number of entries of the central directory."""
        data, end = self.data, self.data.rfind(b"PK\5\6", max(0, len(self.data) - 65536 - 22))
        if end < 0 or end + 22 > len(data):
            raise self._damaged("it has no end record: not a ZIP, or cut short")
        count, size, offset = struct.unpack_from("<HLL", data, end + 10)
        if data[end - 20 : end - 16] == b"PK\6\7":
            (at,) = struct.unpack_from("<Q", data, end - 12)
            if data[at : at + 4] != b"PK\6\6" or at + 56 > end:
                raise self._damaged("its zip64 end record is not where it should be")
            count, size, offset = struct.unpack_from("<QQQ", data, at + 32)
        if offset + size > end:
            raise self._damaged("its directory is not where it should be")
        return offset, size, count

    def _blocks(self, offset: int, size: int, count: int) -> Iterator[tuple[list[bytes], np.ndarray]]:
        """Names and members, a block at a time."""
        names: list[bytes] = []
        rows: list[tuple[int, ...]] = []
        at, end = offset, offset + size
        for _ in range(count):
            if at + _ENTRY.size > end or self.data[at : at + 4] != b"PK\1\2":
                raise self._damaged("its directory is broken")
            entry = _ENTRY.unpack_from(self.data, at)
            flags, method, crc, stored, real, name, extra, comment, local = *entry[3:5], *entry[7:13], entry[16]
            start, at = at + _ENTRY.size, at + _ENTRY.size + name + extra + comment
            names.append(self.data[start : start + name])
            if 0xFFFFFFFF in (stored, real, local):
                fields = self.data[start + name : start + name + extra]
                real, stored, local = self._zip64(fields, real, stored, local)
            if flags & 1 or method not in (0, 8):
                raise self._damaged(f"{os.fsdecode(names[-1])} is encrypted or compressed by method {method}")
            rows.append((local, stored, real, crc, method, -1))
            if len(rows) == _BLOCK:
                yield names, np.array(rows, MEMBER)
                names, rows = [], []
        if rows:
            yield names, np.array(rows, MEMBER)

    def _zip64(self, extra: bytes, *values: int) -> list[int]:
        """Real size, stored size and offset, with the 64-bit numbers of the extra field where 32 bits are too few."""
        while len(extra) >= 4:
            tag, length = struct.unpack_from("<HH", extra)
            if tag == 1 and length // 8 * 8 <= len(extra) - 4:
                wide = iter(struct.unpack_from(f"<{length // 8}Q", extra, 4))
                return [next(wide, value) if value == 0xFFFFFFFF else value for value in values]
            extra = extra[4 + length :]
        return list(values)

    def _extract(self, member: np.ndarray) -> bytes:
        """Bytes of dataset.json."""
        at = int(member["offset"])
        if self.data[at : at + 4] != b"PK\3\4":
            raise self._damaged("dataset.json is not where it should be")
        start = at + 30 + sum(struct.unpack_from("<HH", self.data, at + 26))
        content = self.data[start : start + int(member["stored"])]
        try:
            content = content if member["method"] == 0 else zlib.decompress(content, -15)
        except zlib.error as e:
            raise self._damaged(f"dataset.json cannot be inflated ({e})") from e
        if zlib.crc32(content) != member["crc"]:
            raise self._damaged("dataset.json has a wrong checksum")
        return content

    def _damaged(self, what: str) -> UserError:
        return UserError(f"{self.path} is damaged: {what}; copy it again, or make it anew")
