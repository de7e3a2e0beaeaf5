"""Where images come from: one way to walk through every kind of source, light on memory and from any start."""

import hashlib
import os
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from edm2lite.data.datasets import fingerprint, open_stored
from edm2lite.data.stored import StoredDataset


class FileAt(NamedTuple):
    """Bytes of a file, or of the part of it that begins at `offset`."""

    path: str
    offset: int = 0
    size: int = -1

    def load(self) -> bytes:
        with open(self.path, "rb") as f:
            f.seek(self.offset)
            return f.read(self.size)


class Content(NamedTuple):
    """Bytes at hand."""

    data: bytes

    def load(self) -> bytes:
        return self.data


class Member(NamedTuple):
    """Image of a dataset made before."""

    path: str
    number: int

    def load(self) -> np.ndarray:
        return _opened(self.path).raw(self.number)


@lru_cache(maxsize=1)
def _opened(path: str) -> StoredDataset:
    """A dataset, opened once a process."""
    return open_stored(path)


class Item(NamedTuple):
    """One image: how people call it, its class (0 without labels), and where it is."""

    name: str
    label: int
    where: FileAt | Content | Member


@dataclass(frozen=True)
class Source:
    """A collection of images in a fixed order.

    Attributes:
        what: Its kind, for people.
        count: Number of images, readable or not.
        label_dim: Number of classes; 0: without labels.
        classes: Their names, if known.
        digest: Of all names and classes (or of the data): tells whether an interrupted conversion meets the same source.
        items: Images from the given one on.
        stored: The dataset, if it is one made before.
    """

    what: str
    count: int
    label_dim: int
    classes: list[str] | None
    digest: str
    items: Callable[[int], Iterator[Item]]
    stored: StoredDataset | None = None


class Listing:
    """Files with classes, in a few dozen bytes each: names end to end in one buffer, numbers in arrays.

    Args:
        containers: A folder to which names are relative; or tars, one for all or one a class, from which parts are read.
    """

    def __init__(self, containers: list[str]):
        self.containers, self._names = containers, bytearray()
        self._ends, self._labels, self._offsets, self._sizes = array("q"), array("i"), array("q"), array("q")

    def add(self, name: str, label: int, offset: int = 0, size: int = -1) -> None:
        """Append a file, or a part of a tar."""
        self._names += os.fsencode(name)
        self._ends.append(len(self._names))
        for column, value in ((self._labels, label), (self._offsets, offset), (self._sizes, size)):
            column.append(value)

    def __len__(self) -> int:
        return len(self._ends)

    def items(self, start: int) -> Iterator[Item]:
        """Files from number `start` on."""
        for i in range(start, len(self)):
            name = os.fsdecode(bytes(self._names[self._ends[i - 1] if i else 0 : self._ends[i]]))
            label, size = self._labels[i], self._sizes[i]
            container = self.containers[label if len(self.containers) > 1 else 0]
            path = os.path.join(container, name) if size < 0 else container
            yield Item(name, label, FileAt(path, self._offsets[i], size))

    def source(self, what: str, classes: list[str] | None) -> Source:
        """The files as a source."""
        digest = hashlib.sha256(self._names)
        for column in (self._ends, self._labels, self._sizes):
            digest.update(column)
        return Source(what, len(self), len(classes or ()), classes, digest.hexdigest(), self.items)


def stored_source(path: str) -> Source:
    """A packed folder or ZIP as a source."""
    dataset = open_stored(path)
    labels: Any = dataset.labels

    def items(start: int) -> Iterator[Item]:
        for i in range(start, len(dataset)):
            yield Item(f"image {i}", int(labels[i]), Member(path, i))

    return Source("a dataset", len(dataset), dataset.label_dim, dataset.classes, fingerprint(dataset), items, dataset)
