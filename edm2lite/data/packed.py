"""The packed layout: a folder of standard .npy files, which any program can map or read.

images-00000.npy ...   [n, C, H, W] each: uint8 pixels, or float16/float32 moments of latents
labels.npy             int64 [N]; absent without labels
dataset.json           what is there; written last, so its presence says that the dataset is complete
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from edm2lite.data.readat import Files
from edm2lite.data.stored import StoredDataset
from edm2lite.errors import UserError
from edm2lite.files import atomic_path, write_json

FORMAT, FORMAT_VERSION = "edm2lite packed", 1
HEADER = 128  # bytes before the numbers of a .npy file of numpy's version 1.0, whatever the number of images


def read_description(folder: str | os.PathLike) -> dict[str, Any]:
    """The dataset.json of a packed folder.

    Raises:
        UserError: If there is none, or it is not ours.
    """
    path = Path(folder) / "dataset.json"
    if not path.is_file():
        raise UserError(
            f"{folder} holds no dataset.json; make a dataset with edm2lite data convert (or encode), and if that was "
            "interrupted run the same command again"
        )
    try:
        data = json.loads(path.read_text())
        if data.get("format") != FORMAT or data["version"] != FORMAT_VERSION:
            raise UserError(
                f"{path} has format {data.get('format')!r} {data.get('version')}; update edm2lite to read it"
            )
        if data["shape"][0] != sum(data["counts"].values()):
            raise ValueError("counts and shape differ")
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        if isinstance(e, UserError):
            raise
        raise UserError(f"{path} is damaged ({type(e).__name__}: {e}); make the dataset anew") from e
    return data


def write_description(
    folder: Path, counts: dict[str, int], shape: tuple[int, ...], dtype: str, label_dim: int, encoder: dict[str, Any],
    classes: list[str] | None, made: dict[str, Any],
) -> None:  # fmt: skip
    """Write dataset.json and thereby complete a packed folder.

    Args:
        folder: The folder.
        counts: Images of each file, in order.
        shape: Of one image, [C, H, W].
        dtype: Of the images.
        label_dim: Number of classes; 0: without labels.
        encoder: Specification of the encoder.
        classes: Their names, if known.
        made: The settings that made it.
    """
    write_json(
        folder / "dataset.json",
        {
            "format": FORMAT, "version": FORMAT_VERSION, "shape": [sum(counts.values()), *shape], "dtype": dtype,
            "label_dim": label_dim, "encoder": encoder, "classes": classes, "made": made, "counts": counts,
        },
    )  # fmt: skip


class PackedDataset(StoredDataset):
    """A packed folder. Opening it costs the same for any number of images; every read is one system call.

    Raises:
        UserError: If the folder is not complete, or a file in it is not what dataset.json says.
    """

    def __init__(self, folder: str | os.PathLike):
        data, folder = read_description(folder), Path(folder)
        label_dim = data["label_dim"]
        labels = _labels(folder / "labels.npy", data["shape"][0]) if label_dim else None
        super().__init__(folder, tuple(data["shape"]), np.dtype(data["dtype"]), labels, label_dim, data["encoder"])
        self.classes = data["classes"]
        self._files = Files([folder / name for name in data["counts"]])
        self._ends = np.cumsum(list(data["counts"].values()))
        self._checked: set[int] = set()

    def raw(self, index: int) -> np.ndarray:
        file = int(np.searchsorted(self._ends, index, side="right"))
        start = int(self._ends[file - 1]) if file else 0
        if file not in self._checked:
            self._check(file, int(self._ends[file]) - start)
        out = np.empty(self.shape[1:], self.dtype)
        self._files.read_into(file, HEADER + (index - start) * out.nbytes, out)
        return out

    def _check(self, file: int, count: int) -> None:
        """Raise a UserError unless a file begins with the header that belongs there."""
        if self._files.read(file, 0, HEADER) != npy_header((count, *self.shape[1:]), self.dtype):
            raise UserError(
                f"{self._files.paths[file]} is not the file that dataset.json describes; make the dataset anew"
            )
        self._checked.add(file)


def npy_header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """The 128 bytes that begin a .npy file, as numpy writes them."""
    text = f"{{'descr': {np.dtype(dtype).str!r}, 'fortran_order': False, 'shape': {tuple(int(n) for n in shape)}, }}"
    return b"\x93NUMPY\x01\x00" + (HEADER - 10).to_bytes(2, "little") + text.encode().ljust(HEADER - 11) + b"\n"


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file atomically."""
    with atomic_path(path) as temporary, open(temporary, "wb") as f:
        f.write(npy_header(array.shape, array.dtype))
        f.write(np.ascontiguousarray(array).data)
        f.flush()


def _labels(path: Path, count: int) -> np.ndarray:
    try:
        labels = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, FileNotFoundError) as e:
        raise UserError(f"{path} cannot be read ({e}); make the dataset anew") from e
    if labels.shape != (count,) or labels.dtype != np.int64:
        raise UserError(f"{path} is {labels.dtype} {list(labels.shape)}; dataset.json asks for int64 [{count}]")
    return labels
