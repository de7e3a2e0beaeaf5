"""`edm2lite data convert`: image files to a dataset."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edm2lite.config import ConvertConfig
from edm2lite.data.prepare.detect import open_source
from edm2lite.data.prepare.pictures import NOTES, Converted, Converter
from edm2lite.data.prepare.sources import Source
from edm2lite.data.prepare.workspace import SPOOL, Workspace, check_settings, room_on_disk, tidy
from edm2lite.data.prepare.writers import Description, PackedWriter, Writer, ZippedWriter, made_by
from edm2lite.data.stored import StoredDataset, check_encoder
from edm2lite.errors import UserError
from edm2lite.files import atomic_path
from edm2lite.pool import cores, spread
from edm2lite.progress import progress_bar
from edm2lite.ranks import rank_from_environment

CHUNK = 4096  # images between two entries of the journal, and at most in a file of a packed folder


def convert(cfg: ConvertConfig) -> None:
    """Make the dataset `cfg.dest`, or go on with it; a finished one is left as it is.

    Raises:
        UserError: If source or destination are not what they should be, no image can be read, or the disk is full.
    """
    if rank_from_environment().count > 1:
        raise UserError("convert is one process that uses all cores by itself; start it once, not on several ranks")
    settings = {"command": "convert", "source": os.path.realpath(cfg.source), "size": cfg.size, "exif": cfg.exif}
    dest = Path(cfg.dest)
    if finished(dest, settings):
        return
    source = open_source(cfg.source)
    if source.stored is not None:
        _check_stored(cfg, source.stored)
    with room_on_disk(dest), Workspace(workspace_folder(dest), settings | {"digest": source.digest}) as space:
        conversion = Conversion(cfg, source, space)
        conversion.run()
        conversion.finish(settings)
    tidy(space.folder, dest)


def _check_stored(cfg: ConvertConfig, dataset: StoredDataset) -> None:
    """Raise a UserError if a dataset made before cannot become what is wanted."""
    if cfg.size and dataset.encoder["name"] == "vae":
        raise UserError(f"{cfg.source} holds latents, which cannot be cropped; leave --size out")
    usual = check_encoder(cfg.source, dataset.shape, dataset.dtype, None)
    if cfg.dest.endswith(".zip") and dataset.encoder != usual:
        raise UserError(
            f"{cfg.source} has an encoder with measured numbers, which a ZIP cannot hold; give a folder as --dest"
        )


def workspace_folder(dest: Path) -> Path:
    """Where an unfinished dataset lies: in the packed folder itself, or in a folder beside the ZIP."""
    return dest.with_name(f"{dest.name}.partial") if dest.suffix == ".zip" else dest


def finished(dest: Path, settings: dict[str, Any]) -> bool:
    """Whether the dataset is there; says so, and removes what a killed process left beside it.

    Raises:
        UserError: If it was made with other settings.
    """
    made = made_by(dest)
    if made is None:
        return False
    check_settings(dest, made, settings, "is finished and")
    if workspace_folder(dest).exists():
        tidy(workspace_folder(dest), dest)
    print(f"{dest}: finished before; nothing to do")
    return True


class Conversion:
    """One conversion: state as the journal has it."""

    def __init__(self, cfg: ConvertConfig, source: Source, space: Workspace):
        self.cfg, self.source, self.space, self.dest = cfg, source, space, Path(cfg.dest)
        zipped = self.dest.suffix == ".zip"
        self.converter = Converter(cfg.size, cfg.exif, zipped)
        self.writer: Writer = (ZippedWriter if zipped else PackedWriter)(space, self.dest)
        self.chunk = space.state.get("chunk", 0)
        self.shape: list[int] = space.state.get("shape", [])
        self.dtype: str = space.state.get("dtype", "")
        self.counters = dict.fromkeys(("images", "rejected", *NOTES), 0) | space.state.get("counters", {})

    def run(self) -> None:
        """Convert what is missing."""
        start, count = self.chunk * CHUNK, self.source.count
        if start:
            print(f"{self.dest}: going on after {min(start, count)} of {count} images")
        results: Iterator[Converted] = spread(self.converter, self.source.items(start), self.cfg.workers or cores())
        with progress_bar(count, "convert", initial=min(start, count)) as bar:
            for begin in range(start, count, CHUNK):
                with self.writer.chunk(self.chunk):
                    for _ in range(min(CHUNK, count - begin)):
                        self._take(next(results))
                        bar.update()
                self._commit()

    def _take(self, image: Converted) -> None:
        if image.image is None:
            self.space.spool("rejected").write(f"{_cell(image.name)}\t{_cell(image.reason)}\n".encode())
            self.counters["rejected"] += 1
            return
        if not self.shape:
            self.shape, self.dtype = list(image.image.shape), str(image.image.dtype)
            check_encoder(image.name, (1, *image.image.shape), image.image.dtype, None)
        if list(image.image.shape) != self.shape:
            sizes = [f"{shape[-1]}x{shape[-2]}" for shape in (image.image.shape, self.shape)]
            raise UserError(f"{image.name} is {sizes[0]} pixels, the images before it {sizes[1]}; set --size")
        self.writer.add(image)
        self.space.spool("labels").write(np.int64(image.label).tobytes())
        for key in ("images", *image.notes):
            self.counters[key] += 1

    def _commit(self) -> None:
        self.chunk += 1
        state = {"chunk": self.chunk, "shape": self.shape, "dtype": self.dtype, "counters": self.counters}
        self.space.commit(state | {"writer": self.writer.state})

    def finish(self, made: dict[str, Any]) -> None:
        """Write the list of rejected files, complete the dataset, say what came of it."""
        source, rejected = self.source, Path(f"{self.dest}.rejected.tsv")
        rejected.unlink(missing_ok=True)  # an earlier conversion's
        if self.counters["rejected"]:
            with atomic_path(rejected) as path:
                path.write_bytes((self.space.folder / f"rejected{SPOOL}").read_bytes())
        if not self.counters["images"]:
            shutil.rmtree(self.space.folder)
            raise UserError(f"none of the {source.count} files of {self.cfg.source} is an image; why is in {rejected}")
        encoder = (
            source.stored.encoder if source.stored else check_encoder("", (1, *self.shape), np.dtype(self.dtype), None)
        )
        description = Description(tuple(self.shape), self.dtype, source.label_dim, source.classes, encoder, made)
        self.writer.finish(description)
        self._summary(rejected)

    def _summary(self, rejected: Path) -> None:
        c, source = self.counters, self.source
        classes = f"{source.label_dim} classes" if source.label_dim else "without labels"
        print(f"{self.dest}: {c['images']} images {self.dtype} {self.shape}, {classes}, from {source.what}")
        turned = "applied" if self.cfg.exif == "apply" else "ignored; --exif apply turns such images upright"
        for key, text in zip(NOTES, ("not RGB before", f"EXIF rotation ({turned})", "enlarged"), strict=True):
            if c[key]:
                print(f"  {text}: {c[key]}")
        if c["rejected"]:
            print(f"  left out because unreadable: {c['rejected']}, listed with reasons in {rejected}")


def _cell(text: str) -> str:
    """Text that fits a cell of a table."""
    return " ".join(os.fsencode(text).decode(errors="replace").split())
