"""Reading files from the disk, or from the memory that the system keeps of it."""

import ctypes
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

PROTECTION = mmap.PROT_READ | mmap.PROT_WRITE  # ctypes takes the address of writable memory alone


def read(paths: Sequence[Path]) -> None:
    """Every byte, into the same memory."""
    buffer = bytearray(16 * 2**20)
    for path in paths:
        with open(path, "rb", buffering=0) as f:
            while f.readinto(buffer):
                pass


def drop(paths: Sequence[Path]) -> float:
    """Ask the system to forget the pages of files; the share of them that is in memory nevertheless."""
    for path in paths:
        with open(path, "rb") as f:
            os.fsync(f.fileno())
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return resident(paths)


def resident(paths: Sequence[Path]) -> float:
    """Share of the pages of files that is in memory."""
    libc, there, pages = ctypes.CDLL(None, use_errno=True), 0, 0
    for path in paths:
        with (
            open(path, "rb") as f,
            mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as m,
        ):
            count = -(-len(m) // mmap.PAGESIZE)
            start, vector = ctypes.c_char.from_buffer(m), (ctypes.c_ubyte * count)()
            libc.mincore(ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(len(m)), vector)
            del start
            there, pages = there + sum(v & 1 for v in vector), pages + count
    return there / pages
