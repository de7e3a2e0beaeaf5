"""Stored ZIPs of files by seed; with classes in dataset.json, so that an archive of images is a dataset, too."""

import json
import os
import tempfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edm2lite.data.prepare.zipwriter import ZipWriter
from edm2lite.data.readat import Files
from edm2lite.data.zipindex import build_index
from edm2lite.errors import UserError
from edm2lite.files import atomic_path
from edm2lite.sampling.images import Kind, member_name

_LOCAL_HEADER = 30  # bytes before a member's name; ZipWriter adds nothing between the name and the content


def write_zip(path: Path, kind: Kind, members: Iterable[tuple[int, bytes]], labels: Mapping[int, int]) -> None:
    """Write an archive atomically, one member in memory at a time.

    Args:
        path: Of the archive.
        kind: What the members are.
        members: Seeds and their bytes, in the order of the archive; the bytes of the archive depend on nothing else.
        labels: Class of every seed; empty: without classes.
    """
    with (
        atomic_path(path) as temporary,
        open(temporary, "wb") as archive,
        tempfile.TemporaryFile() as directory,
    ):
        writer, entries = ZipWriter(archive, directory, 0), []
        for seed, content in members:
            writer.add(member_name(seed, kind.suffix), content)
            if labels:
                entries.append([member_name(seed, kind.suffix), labels[seed]])
        if labels:
            writer.add("dataset.json", json.dumps({"labels": entries}).encode())
        writer.close()


class _Place(NamedTuple):
    file: int
    offset: int
    size: int
    crc: int


class Members:
    """Members of any number of archives that `write_zip` made, found by seed; each is read by one system call.

    Attributes:
        seeds: Of all members; of a seed in several archives the first counts (they are the same).
        labels: Class of every seed; empty: without classes.
    """

    def __init__(self, paths: Sequence[str | os.PathLike], kind: Kind):
        self.kind, self._files = kind, Files(paths)
        self._places: dict[int, _Place] = {}
        self.labels: dict[int, int] = {}
        for number, path in enumerate(paths):
            index = build_index(path)
            for name, member in zip(index.names.tolist(), index.members.tolist(), strict=True):
                self._enter(number, name.decode(), member)

    def _enter(self, number: int, name: str, member: tuple[int, ...]) -> None:
        offset, stored, _, crc, method, label = member
        stem = Path(name).stem
        if method or not stem.isdecimal() or name != member_name(int(stem), self.kind.suffix):
            raise UserError(f"{self._files.paths[number]} holds {name}, which is not ours; choose another --outdir")
        if int(stem) not in self._places:
            self._places[int(stem)] = _Place(number, offset + _LOCAL_HEADER + len(name), stored, crc)
            if label >= 0:
                self.labels[int(stem)] = label

    @property
    def seeds(self) -> list[int]:
        return sorted(self._places)

    def content(self, seed: int) -> bytes:
        """Bytes of a member; a UserError if they are damaged."""
        place = self._places[seed]
        content = self._files.read(place.file, place.offset, place.size)
        if zlib.crc32(content) != place.crc:
            raise UserError(
                f"{self._files.paths[place.file]} is damaged at seed {seed}; delete it and run the same command again"
            )
        return content

    def array(self, seed: int) -> np.ndarray:
        """The image or the latent [C, H, W] of a seed."""
        return self.kind.decode(self.content(seed), f"{self._files.paths[self._places[seed].file]}: seed {seed}")
