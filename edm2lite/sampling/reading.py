"""The images of what `sample` wrote, or of any folder of PNGs, ZIP or NPZ, to be measured."""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edm2lite.data.zipped import ZipDataset
from edm2lite.errors import UserError
from edm2lite.files import digest
from edm2lite.sampling.images import PIXELS, member_name, read_png
from edm2lite.sampling.npz import NpzRows

SHEETS = ("contact_sheet.png", "weights_sheet.png", "compare_sheet.png")


class Images(NamedTuple):
    """Images that can be read one by one.

    Attributes:
        path: Where they lie.
        names: For messages.
        read: Image i, uint8 [C, H, W].
        labels: Class of every image, where known; else None.
        by_seed: Whether they come in the order of seeds; else their order may mean something, such as the class.
        fingerprint: Identity of the files and their labels: of their content where a manifest tells it and no image is newer,
            else of names, sizes and times, of archives also of the checksums that they hold.
    """

    path: str
    names: Sequence[str]
    read: Callable[[int], np.ndarray]
    labels: Sequence[int] | None
    fingerprint: str
    by_seed: bool


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
    hashes, classes = manifest.get("images_sha256"), manifest.get("labels", {})
    seeds = _seeds(folder, paths, hashes) if hashes else None
    labels = [classes[seed] for seed in seeds] if seeds and classes.keys() >= set(seeds) else None
    known = seeds is not None and not _changed_since(folder / "manifest.json", paths)
    return Images(
        str(folder), [str(path) for path in paths], lambda i: read_png(paths[i]), labels,
        digest([hashes, labels] if known else [_listing(folder, paths), labels]),
        _by_seed(path.relative_to(folder).as_posix() for path in paths),
    )  # fmt: skip


def _manifest(path: Path) -> dict[str, Any]:
    """What a manifest says; a folder without one is complete."""
    if not path.is_file():
        return {"status": "complete"}
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError):  # damaged
        return {}


def _by_seed(names: Iterable[str]) -> bool:
    """Whether files are called as those of `sample` are."""
    return all(Path(name).stem.isdecimal() and name == member_name(int(Path(name).stem)) for name in names)


def _seeds(folder: Path, paths: Sequence[Path], hashes: Mapping[str, str]) -> list[str] | None:
    """Seeds of the images as the manifest writes them; None if somebody has put others beside them.

    Raises:
        UserError: If some of the manifest are not there.
    """
    there, expected = [path.relative_to(folder).as_posix() for path in paths], {member_name(int(s)): s for s in hashes}
    if lost := expected.keys() - set(there):
        raise UserError(
            f"{folder} lacks {len(lost)} of the {len(expected)} images of its manifest.json ({min(lost)} ...); run its "
            "sample.py command again, or delete manifest.json to measure what is there"
        )
    return [expected[name] for name in there] if len(there) == len(expected) else None


def _changed_since(manifest: Path, paths: Sequence[Path]) -> bool:
    """Whether an image is newer than the manifest, so that its hash may not be that of its content."""
    return max(path.stat().st_ctime_ns for path in paths) > manifest.stat().st_ctime_ns


def _listing(root: Path, paths: Sequence[Path]) -> str:
    """Identity of files that nobody has hashed."""
    found = ((path.relative_to(root), path.stat()) for path in paths)
    return digest([[str(name), stat.st_size, stat.st_mtime_ns] for name, stat in found])


def _open_zip(path: Path) -> Images:
    dataset = ZipDataset(path)
    if dataset.encoder["name"] != "rgb":
        raise UserError(f"{path} holds latents; --images takes pixels")
    members = [dataset.member(i) for i in range(len(dataset))]
    return Images(
        str(path), [f"{path}: {member}" for member in members], dataset.raw,
        dataset.labels.tolist() if dataset.label_dim else None,
        digest([_listing(path.parent, [path]), dataset.checksum()]), _by_seed(members),
    )  # fmt: skip


def _open_npz(path: Path) -> Images:
    rows = NpzRows(path, PIXELS)
    if rows.dtype != np.uint8:
        raise UserError(f"{path}: arr_0 is {rows.dtype}; --images takes uint8 pixels")
    seeds = rows.seeds
    return Images(
        str(path), [f"{path}: seed {seed}" for seed in seeds], lambda i: rows.array(seeds[i]),
        [rows.labels[seed] for seed in seeds] if rows.labels else None,
        digest([_listing(path.parent, [path]), rows.checksums]), "seeds" in rows.checksums,
    )  # fmt: skip
