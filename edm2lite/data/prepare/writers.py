"""The two layouts as they are written: a packed folder, and a ZIP in NVIDIA's layout."""

import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from edm2lite.data.packed import HEADER, npy_header, read_description, write_array, write_description
from edm2lite.data.prepare.pictures import Converted
from edm2lite.data.prepare.workspace import SPOOL, Workspace
from edm2lite.data.prepare.zipwriter import ZipWriter
from edm2lite.errors import UserError


@dataclass(frozen=True)
class Description:
    """What a finished dataset says about itself.

    Attributes:
        shape: Of one image.
        dtype: Of the images.
        label_dim: Number of classes; 0: without labels.
        classes: Their names, if known.
        encoder: Specification of the encoder.
        made: The settings that made it.
    """

    shape: tuple[int, ...]
    dtype: str
    label_dim: int
    classes: list[str] | None
    encoder: dict[str, Any]
    made: dict[str, Any]


class Writer(Protocol):
    """Takes images chunk by chunk. Its `state` belongs to the journal; labels are kept in the workspace's spool."""

    state: dict[str, Any]

    def chunk(self, number: int) -> AbstractContextManager[None]: ...

    def add(self, image: Converted) -> None: ...

    def finish(self, d: Description) -> None: ...


class PackedWriter:
    """Writes a packed folder, which is the workspace's: one file a chunk."""

    def __init__(self, space: Workspace, dest: Path):
        self.space, self.folder = space, dest
        self.state: dict[str, Any] = {"counts": {}} | space.state.get("writer", {})

    @contextmanager
    def chunk(self, number: int) -> Iterator[None]:
        name, self._count = f"images-{number:05d}.npy", 0
        temporary = self.folder / f".{name}.tmp"
        with open(temporary, "wb") as self._file:
            self._file.write(bytes(HEADER))  # its place; the number of images is known at the end
            yield
            if self._count:
                self._file.seek(0)
                self._file.write(npy_header((self._count, *self._shape), self._dtype))
                self._file.flush()
                os.fsync(self._file.fileno())
        if self._count:
            os.replace(temporary, self.folder / name)
            self.state["counts"][name] = self._count
        else:
            temporary.unlink()

    def add(self, image: Converted) -> None:
        assert image.image is not None
        self._file.write(image.image.data)
        self._shape, self._dtype = image.image.shape, image.image.dtype
        self._count += 1

    def finish(self, d: Description) -> None:
        if d.label_dim:
            write_array(self.folder / "labels.npy", np.fromfile(self.folder / f"labels{SPOOL}", "<i8"))
        write_description(
            self.folder, self.state["counts"], d.shape, d.dtype, d.label_dim, d.encoder, d.classes,
            d.made,
        )  # fmt: skip


class ZippedWriter:
    """Writes a ZIP in NVIDIA's layout; the workspace is a folder beside it."""

    def __init__(self, space: Workspace, dest: Path):
        self.space, self.dest = space, dest
        self.state: dict[str, Any] = {"members": 0} | space.state.get("writer", {})
        self._zip = ZipWriter(space.spool("archive"), space.spool("directory"), self.state["members"])

    @contextmanager
    def chunk(self, number: int) -> Iterator[None]:
        yield
        self.state["members"] = self._zip.count

    def add(self, image: Converted) -> None:
        self._zip.add(member_name(self._zip.count, image.file), image.file)

    def finish(self, d: Description) -> None:
        archive, suffix = self.space.spool("archive"), ".png" if d.dtype == "uint8" else ".npy"
        with open(self.space.folder / "dataset.json.tmp", "w+b") as f:
            self._labels(f, suffix, d.label_dim)
            self._zip.add_file("dataset.json", f)
        self._zip.close(json.dumps({"edm2lite": d.made}).encode())
        os.fsync(archive.fileno())
        os.replace(self.space.folder / f"archive{SPOOL}", self.dest)

    def _labels(self, f: IO[bytes], suffix: str, label_dim: int) -> None:
        """Write dataset.json."""
        if not label_dim:
            f.write(b'{"labels": null}')
            return
        labels = np.memmap(self.space.folder / f"labels{SPOOL}", "<i8", "r")
        for i, label in enumerate(labels):
            f.write(f'{", " if i else """{"labels": ["""}["{_name(i)}{suffix}", {label}]'.encode())
        f.write(b"]}")


def member_name(index: int, content: bytes) -> str:
    """Name of an image in NVIDIA's layout: 00000/img00000000.png, a thousand to a folder."""
    return _name(index) + (".npy" if content.startswith(b"\x93NUMPY") else ".png")


def _name(index: int) -> str:
    return f"{index // 1000:05d}/img{index:08d}"


def made_by(dest: Path) -> dict[str, Any] | None:
    """The settings that made a finished dataset; None: there is none yet.

    Raises:
        UserError: If the destination is something else.
    """
    if dest.suffix == ".zip" and dest.is_file():
        try:
            with zipfile.ZipFile(dest) as f:
                return json.loads(f.comment)["edm2lite"]
        except (zipfile.BadZipFile, ValueError, KeyError, TypeError) as e:
            raise UserError(f"{dest} exists and was not made by this command; choose another --dest") from e
    if dest.exists() and dest.is_dir() == (dest.suffix == ".zip"):
        raise UserError(
            f"{dest} is {'a folder' if dest.is_dir() else 'a file'}; choose another --dest (.zip, or a folder)"
        )
    return read_description(dest)["made"] if (dest / "dataset.json").exists() else None
