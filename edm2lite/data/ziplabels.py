"""The labels in an archive's dataset.json: {"labels": [[name, class], ...]}, or null.

`json.loads` would build lists and strings of some 300 bytes an image; here a pattern goes over the bytes.
"""

import itertools
import json
import os
import re
from collections.abc import Iterator

import numpy as np

from edm2lite.errors import UserError

_KEY = re.compile(rb'"labels"\s*:\s*(null|\[)')
_ENTRY = re.compile(rb'\s*\[\s*"((?:[^"\\]|\\.)*)"\s*,\s*(\d+)\s*\]\s*(,|\])')
_BLOCK = 1 << 16


def read_labels(path: str | os.PathLike, content: bytes | None, names: np.ndarray) -> np.ndarray:
    """Class of every image, int64 [N]; -1 throughout if there are no labels.

    Args:
        path: Archive; named in errors.
        content: Of its dataset.json; None: it has none.
        names: Of the images, sorted, bytes [N].

    Raises:
        UserError: If the JSON is malformed, names an image that is not there, or leaves one out.
    """
    labels = np.full(len(names), -1, np.int64)
    found = _KEY.search(content or b"")
    if content is not None and found is None:
        raise UserError(f'{path}: its dataset.json has no "labels"; write {{"labels": [[name, class], ...]}}, or null')
    if content is None or found is None or found[1] == b"null":
        return labels
    entries = _entries(path, content, found.end())
    while block := list(itertools.islice(entries, _BLOCK)):
        listed = np.array([name for name, _ in block], "S")
        at = np.minimum(np.searchsorted(names, listed), len(names) - 1)
        missing = np.flatnonzero(names[at] != listed)
        if len(missing):
            raise UserError(f"{path}: dataset.json labels {_text(listed[missing[0]])}, which the archive does not hold")
        labels[at] = [label for _, label in block]
    if labels.min() < 0:
        raise UserError(
            f"{path}: {_text(names[labels.argmin()])} has no label in dataset.json; label all images or none"
        )
    return labels


def _entries(path: str | os.PathLike, content: bytes, at: int) -> Iterator[tuple[bytes, int]]:
    """Names and classes of the list that begins at a place in the JSON."""
    if re.compile(rb"\s*\]").match(content, at):
        return
    while entry := _ENTRY.match(content, at):
        name = entry[1]
        if b"\\" in name:
            name = json.loads(b'"' + name + b'"').encode()
        yield name, int(entry[2])
        if entry[3] == b"]":
            return
        at = entry.end()
    raise UserError(
        f"{path}: dataset.json is not [name, class] at byte {at} ({content[at : at + 40]!r}); classes are whole numbers from 0"
    )


def _text(name: bytes) -> str:
    return os.fsdecode(name)
