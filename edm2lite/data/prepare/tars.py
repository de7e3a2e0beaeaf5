"""ImageNet's original tars, read in place: only the headers are walked, images are later read at their offsets."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from edm2lite.data.prepare.sources import Listing, Source
from edm2lite.errors import UserError
from edm2lite.progress import progress_bar


class _Class(NamedTuple):
    """A class's tar: where it begins and ends in a file."""

    name: str
    path: Path
    start: int
    end: int


def tar_source(paths: list[Path]) -> Source:
    """One tar that holds a tar for every class (ILSVRC2012_img_train.tar), or a tar for every class.

    Raises:
        UserError: If a tar is damaged, or the only one holds no tars.
    """
    classes = [_Class(path.stem, path, 0, path.stat().st_size) for path in paths]
    if len(paths) == 1:
        classes = sorted(_members(paths[0])) or classes
    listing = Listing([str(c.path) for c in classes] if len(paths) > 1 else [str(paths[0])])
    with progress_bar(len(classes), "tar headers") as bar:
        for label, c in enumerate(classes):
            for name, offset, size in sorted(_files(c)):
                listing.add(f"{c.name}/{name}", label, offset, size)
            bar.update()
    if not len(listing):
        raise UserError(f"{paths[0]} holds no images; give ILSVRC2012_img_train.tar, or a folder of <class>.tar")
    return listing.source("tars", [c.name for c in classes])


def _members(path: Path) -> list[_Class]:
    """The tars in a tar."""
    size = path.stat().st_size
    members = list(_walk(path, 0, size))
    inner = [(m.name, offset, m.size) for m, offset in members if m.name.endswith(".tar")]
    if members and not inner:
        raise UserError(f"{path} holds no tar for every class; unpack it, and give the folder of its class folders")
    return [_Class(Path(name).stem, path, offset, offset + size) for name, offset, size in inner]


def _files(c: _Class) -> list[tuple[str, int, int]]:
    """Name, offset and size of the files in a class's tar."""
    return [(m.name, offset, m.size) for m, offset in _walk(c.path, c.start, c.end)]


def _walk(path: Path, start: int, end: int) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """Regular files of the tar that fills a part of a file, with their offsets in that file."""
    with open(path, "rb") as f:
        f.seek(start)
        try:
            for member in _tar(f):
                if member.offset >= end:
                    return
                if member.offset_data + member.size > end:
                    raise tarfile.ReadError(f"{member.name} is cut short")
                if member.isreg():
                    yield member, member.offset_data
        except tarfile.TarError as e:
            raise UserError(f"{path} is no whole tar ({e}); copy it again, and unpack it if it is compressed") from e


def _tar(f: IO[bytes]) -> tarfile.TarFile:
    """A tar that begins where the file stands; its offsets count from the file's beginning."""
    return tarfile.TarFile(fileobj=f)
