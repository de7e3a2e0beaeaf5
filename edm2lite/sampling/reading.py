"""The images of what `sample` wrote, or of any folder of PNGs, ZIP or NPZ, to be measured."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edm2lite.data.zipped import ZipDataset
from edm2lite.errors import UserError
from edm2lite.files import digest
from edm2lite.sampling.images import PIXELS, read_png
from edm2lite.sampling.npz import NpzRows

SHEETS = ("contact_sheet.png", "weights_sheet.png", "compare_sheet.png")


class Images(NamedTuple):
    """Images that can be read one by one.

    Attributes:
        path: Where they lie.
        names: For messages.
        read: Image i, uint8 [C, H, W].
        labels: Class of every image, where known; else None.
        fingerprint: Identity of the files: of their content where a manifest tells it, else of names, sizes and times.
    """

    path: str
    names: Sequence[str]
    read: Callable[[int], np.ndarray]
    labels: Sequence[int] | None
    fingerprint: str


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
    manifest = _manifest(folder / "manifest.json")
    if manifest.get("status") != "complete":
        raise UserError(f"{folder} is not complete (see its manifest.json); run its sample.py command again")
    for archive in (folder / "images.zip", folder / "images.npz"):
        if archive.is_file():
            return open_images(archive)
    paths = sorted(folder.glob("*/*.png")) or sorted(p for p in folder.glob("*.png") if p.name not in SHEETS)
    hashes, names = manifest.get("images_sha256", {}), [str(path) for path in paths]
    whole = len(hashes) == len(paths) > 0
    labels = manifest.get("labels")
    return Images(
        str(folder), names, lambda i: read_png(paths[i]),
        [labels[str(int(path.stem))] for path in paths] if whole and labels else None,
        digest(hashes) if whole else _listing(folder, paths),
    )  # fmt: skip


def _manifest(path: Path) -> dict[str, Any]:
    """What a manifest says; a folder without one is complete."""
    if not path.is_file():
        return {"status": "complete"}
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError):  # damaged
        return {}


def _listing(root: Path, paths: Sequence[Path]) -> str:
    """Identity of files that nobody has hashed."""
    found = ((path.relative_to(root), path.stat()) for path in paths)
    return digest([[str(name), stat.st_size, stat.st_mtime_ns] for name, stat in found])


def _open_zip(path: Path) -> Images:
    dataset = ZipDataset(path)
    if dataset.encoder["name"] != "rgb":
        raise UserError(f"{path} holds latents; --images takes pixels")
    return Images(
        str(path), [f"{path}: {dataset.member(i)}" for i in range(len(dataset))], dataset.raw,
        dataset.labels.tolist() if dataset.label_dim else None, _listing(path.parent, [path]),
    )  # fmt: skip


def _open_npz(path: Path) -> Images:
    rows = NpzRows(path, PIXELS)
    if rows.dtype != np.uint8:
        raise UserError(f"{path}: arr_0 is {rows.dtype}; --images takes uint8 pixels")
    seeds = rows.seeds
    return Images(
        str(path), [f"{path}: seed {seed}" for seed in seeds], lambda i: rows.array(seeds[i]),
        [rows.labels[seed] for seed in seeds] if rows.labels else None, _listing(path.parent, [path]),
    )  # fmt: skip
