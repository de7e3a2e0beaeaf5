"""Images in folders. Hidden files and folders (.DS_Store ...) are no part of a source."""

import os
from pathlib import Path

from edm2lite.data.prepare.sources import Listing, Source
from edm2lite.errors import UserError


def class_folders(root: Path, classes: list[str]) -> Source:
    """One folder a class, numbered in the order of their names; images may lie deeper.

    Raises:
        UserError: If images lie beside the folders, so that they have no class.
    """
    from PIL import Image

    Image.init()
    beside = [name for name in _names(root) if Path(name).suffix.lower() in Image.EXTENSION]
    if beside:
        raise UserError(f"{root / beside[0]} lies beside class folders; move it into one, or away")
    listing = Listing([str(root)])
    for label, name in enumerate(classes):
        for file in sorted(_below(root, name)):
            listing.add(file, label)
    return _filled(listing, root).source("class folders", classes)


def flat_folder(root: Path) -> Source:
    """All files of a folder, without labels."""
    listing = Listing([str(root)])
    for name in _names(root):
        listing.add(name, 0)
    return _filled(listing, root).source("a folder without classes", None)


def subfolders(root: Path) -> list[str]:
    """Names of the folders in a folder, sorted."""
    with os.scandir(root) as entries:
        return sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())


def _names(root: Path) -> list[str]:
    """Names of the files in a folder, sorted."""
    with os.scandir(root) as entries:
        return sorted(e.name for e in entries if not e.name.startswith(".") and not e.is_dir())


def _below(root: Path, folder: str) -> list[str]:
    """All files below a folder, as paths relative to `root`."""
    files = []
    with os.scandir(root / folder) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                path = f"{folder}/{entry.name}"
                files += _below(root, path) if entry.is_dir() else [path]
    return files


def _filled(listing: Listing, root: Path) -> Listing:
    if not len(listing):
        raise UserError(f"{root} holds no images; name the folder of the images, or of the class folders")
    return listing
