"""The images of what `sample` wrote, or of any folder of PNGs, ZIP or NPZ, to be measured."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edm2lite.data.zipped import ZipDataset
from edm2lite.errors import UserError
from edm2lite.sampling.images import PIXELS, read_png
from edm2lite.sampling.npz import NpzRows

SHEETS = ("contact_sheet.png", "weights_sheet.png", "compare_sheet.png")


class Images(NamedTuple):
    """Images that can be read one by one.

    Attributes:
        names: For messages.
        read: Image i, uint8 [C, H, W].
    """

    names: Sequence[str]
    read: Callable[[int], np.ndarray]


def open_images(path: str | os.PathLike) -> Images:
    """The images of an outdir of `sample` in any format, of another folder of PNGs (`*.png` or `*/*.png`), a .zip or an .npz.

    Raises:
        UserError: If there is no such thing, it is not complete, or damaged.
    """
    path = Path(path)
    if path.is_dir():
        return _open_folder(path)
    if not path.is_file() or path.suffix not in (".zip", ".npz"):
        raise UserError(f"{path} is no folder, .zip or .npz; --images names one that sample.py wrote")
    return _open_zip(path) if path.suffix == ".zip" else _open_npz(path)


def _open_folder(folder: Path) -> Images:
    manifest = folder / "manifest.json"
    if manifest.is_file() and not _is_complete(manifest):
        raise UserError(f"{folder} is not complete (see its manifest.json); run its sample.py command again")
    for archive in (folder / "images.zip", folder / "images.npz"):
        if archive.is_file():
            return open_images(archive)
    paths = sorted(folder.glob("*/*.png")) or sorted(p for p in folder.glob("*.png") if p.name not in SHEETS)
    return Images([str(path) for path in paths], lambda i: read_png(paths[i]))


def _is_complete(manifest: Path) -> bool:
    try:
        return bool(json.loads(manifest.read_text())["status"] == "complete")
    except (ValueError, KeyError, TypeError):  # damaged
        return False


def _open_zip(path: Path) -> Images:
    dataset = ZipDataset(path)
    if dataset.encoder["name"] != "rgb":
        raise UserError(f"{path} holds latents; --images takes pixels")
    return Images([f"{path}: {dataset.member(i)}" for i in range(len(dataset))], dataset.raw)


def _open_npz(path: Path) -> Images:
    rows = NpzRows(path, PIXELS)
    if rows.dtype != np.uint8:
        raise UserError(f"{path}: arr_0 is {rows.dtype}; --images takes uint8 pixels")
    seeds = rows.seeds
    return Images([f"{path}: seed {seed}" for seed in seeds], lambda i: rows.array(seeds[i]))
