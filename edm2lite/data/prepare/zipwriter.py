"""ZIP archives of stored members with any number of members, in constant memory (PKWARE's APPNOTE 6.3).

zipfile keeps an object for every member, and cannot go on with an archive that was interrupted. Here the central directory
grows in a file of its own until it is appended at the end.
"""

import shutil
import struct
import zlib
from typing import IO

LIMIT_16, LIMIT_32 = 0xFFFF, 0xFFFFFFFF  # fields of so many bits that are full refer to their zip64 twins
_DATE = (1 << 5) | 1  # 1 January 1980, so that equal images make equal archives
_PLAIN, _ZIP64 = 20, 45  # versions of the format needed to read
_UNIX, _MODE = 3 << 8, 0o100644 << 16


class ZipWriter:
    """Appends to an archive.

    Args:
        archive: Open for appending, at its end.
        directory: Likewise: takes the records of the central directory.
        count: Members that are in both.
    """

    def __init__(self, archive: IO[bytes], directory: IO[bytes], count: int):
        self.archive, self.directory, self.count = archive, directory, count
        self._at = archive.tell()

    def add(self, name: str, content: bytes) -> None:
        """Append a member; its name is ASCII."""
        self._begin(name, zlib.crc32(content), len(content))
        self.archive.write(content)

    def add_file(self, name: str, file: IO[bytes]) -> None:
        """Append a file of less than 4 GiB as a member."""
        crc = size = 0
        file.seek(0)
        while block := file.read(1 << 20):
            crc, size = zlib.crc32(block, crc), size + len(block)
        self._begin(name, crc, size)
        file.seek(0)
        shutil.copyfileobj(file, self.archive, 1 << 20)

    def _begin(self, name: str, crc: int, size: int) -> None:
        """Write a member's local header and its record in the directory."""
        wide = self._at >= LIMIT_32
        common = struct.pack("<5H3L", _ZIP64 if wide else _PLAIN, 0, 0, 0, _DATE, crc, size, size)
        local = b"PK\3\4" + common + struct.pack("<2H", len(name), 0) + name.encode("ascii")
        extra = struct.pack("<2HQ", 1, 8, self._at) if wide else b""
        offset = LIMIT_32 if wide else self._at
        self.directory.write(
            b"PK\1\2" + struct.pack("<H", _UNIX | _ZIP64) + common
            + struct.pack("<5H2L", len(name), len(extra), 0, 0, 0, _MODE, offset) + name.encode("ascii") + extra
        )  # fmt: skip
        self.archive.write(local)
        self._at += len(local) + size
        self.count += 1

    def close(self, comment: bytes = b"") -> None:
        """Append the central directory and the end record; the archive is then complete."""
        start, size = self._at, self.directory.tell()
        self.directory.seek(0)
        shutil.copyfileobj(self.directory, self.archive, 1 << 20)
        if self.count >= LIMIT_16 or size >= LIMIT_32 or start >= LIMIT_32:
            end = struct.pack("<QHHLLQQQQ", 44, _UNIX | _ZIP64, _ZIP64, 0, 0, self.count, self.count, size, start)
            self.archive.write(b"PK\6\6" + end + b"PK\6\7" + struct.pack("<LQL", 0, start + size, 1))
        count = min(self.count, LIMIT_16)
        end = struct.pack("<4H2LH", 0, 0, count, count, min(size, LIMIT_32), min(start, LIMIT_32), len(comment))
        self.archive.write(b"PK\5\6" + end + comment)
        self.archive.flush()
