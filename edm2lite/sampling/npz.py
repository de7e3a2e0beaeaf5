"""Images in one NPZ, as ADM's evaluation reads it (Dhariwal and Nichol 2021): arr_0, and classes in arr_1.

Tens of gigabytes never lie in memory: rows are written to the archive one by one, and read by their offset.
"""

import itertools
import os
import struct
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from edm2lite.data.readat import Files
from edm2lite.errors import UserError
from edm2lite.files import atomic_path
from edm2lite.sampling.images import Kind


def write_npz(
    path: Path, kind: Kind, arrays: Iterable[np.ndarray], seeds: Sequence[int], labels: Mapping[int, int]
) -> None:
    """Write arrays [C, H, W] of seeds atomically, without compression.

    Args:
        path: Of the NPZ.
        kind: Images go to arr_0 as [N, H, W, C], latents as [N, C, H, W].
        arrays: One for each seed, in their order.
        seeds: Go to `seeds`, int64 [N].
        labels: Class of every seed, to arr_1, int64 [N]; empty: without classes.
    """
    rows = (np.ascontiguousarray(array.transpose(1, 2, 0) if kind.channels_last else array) for array in arrays)
    first = next(rows)
    header = {"descr": first.dtype.str, "fortran_order": False, "shape": (len(seeds), *first.shape)}
    others = {"arr_1": [labels[seed] for seed in seeds]} if labels else {}
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        with archive.open(_member("arr_0"), "w", force_zip64=True) as f:
            np.lib.format.write_array_header_1_0(f, header)
            for row in itertools.chain([first], rows):
                f.write(row.data)
        for name, numbers in {**others, "seeds": list(seeds)}.items():
            with archive.open(_member(name), "w") as f:
                np.lib.format.write_array(f, np.array(numbers, "<i8"))


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(f"{name}.npy")  # dated 1980, so that equal images make equal archives
    info.external_attr = 0o100644 << 16
    return info


class NpzRows:
    """Rows of an NPZ that was written without compression, by ourselves or for ADM's evaluation.

    Attributes:
        seeds: Of the rows; 0, 1, 2 ... where it names none.
        labels: Class of every seed; empty: without classes.
        shape, dtype: Of arr_0.
        checksums: CRC-32 of every array, as the archive's directory tells it.

    Raises:
        UserError: If the file is damaged, compressed, or holds no arr_0 of images.
    """

    def __init__(self, path: str | os.PathLike, kind: Kind):
        self.kind, self._files = kind, Files([path])
        try:
            with zipfile.ZipFile(path) as archive, open(path, "rb") as f:
                info = archive.getinfo("arr_0.npy")
                if info.compress_type != zipfile.ZIP_STORED:
                    raise ValueError("arr_0 is compressed")
                f.seek(info.header_offset + 26)
                f.seek(sum(struct.unpack("<HH", f.read(4))), os.SEEK_CUR)
                if np.lib.format.read_magic(f) != (1, 0):
                    raise ValueError("an NPY header of another version")
                self.shape, fortran, self.dtype = np.lib.format.read_array_header_1_0(f)
                self._start = f.tell()
                self.checksums = {info.filename.removesuffix(".npy"): info.CRC for info in archive.infolist()}
            with np.load(path) as arrays:
                numbers = {name: arrays[name] for name in self.checksums.keys() & {"arr_1", "seeds"}}
        except (zipfile.BadZipFile, KeyError, ValueError, EOFError, struct.error) as e:
            raise UserError(
                f"{path} is no NPZ with images in arr_0 ({e}); write it uncompressed, as sample.py --format npz does"
            ) from e
        if fortran or len(self.shape) != 4:
            raise UserError(f"{path}: arr_0 is {list(self.shape)}; it must be [N, H, W, C] in C order")
        seeds = _one_each(path, "seeds", numbers.get("seeds", np.arange(self.shape[0])), self.shape[0])
        self._rows = {seed: i for i, seed in enumerate(seeds)}
        if len(self._rows) < len(seeds):
            raise UserError(f"{path}: seeds repeat; each image must have one of its own")
        classes = _one_each(path, "arr_1", numbers["arr_1"], len(seeds)) if "arr_1" in numbers else []
        self.labels = dict(zip(self._rows, classes, strict=False))

    @property
    def seeds(self) -> list[int]:
        return list(self._rows)

    def content(self, seed: int) -> bytes:
        """Bytes of a row."""
        return self._row(seed).tobytes()

    def array(self, seed: int) -> np.ndarray:
        """The image or the latent [C, H, W] of a seed."""
        row = self._row(seed)
        return row.transpose(2, 0, 1) if self.kind.channels_last else row

    def _row(self, seed: int) -> np.ndarray:
        row = np.empty(self.shape[1:], self.dtype)
        self._files.read_into(0, self._start + self._rows[seed] * row.nbytes, row)
        return row


def _one_each(path: str | os.PathLike, name: str, numbers: np.ndarray, count: int) -> list[int]:
    """Integers, one for each image; a UserError if an array holds anything else."""
    if numbers.shape != (count,) or not np.issubdtype(numbers.dtype, np.integer):
        raise UserError(
            f"{path}: {name} is {numbers.dtype} {list(numbers.shape)}; it must be integers [{count}], one an image"
        )
    return [int(number) for number in numbers]
