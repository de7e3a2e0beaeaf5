"""`edm2lite data encode`: latents of a dataset of RGB images.

Chunk i belongs to rank i % count. A chunk is a file of the packed folder, with a small file beside it that is written last
and holds its sums; whoever finds all chunks there completes the dataset. Ranks exchange nothing.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edm2lite.config import ConvertConfig, EncodeConfig
from edm2lite.data.datasets import fingerprint, open_stored
from edm2lite.data.devices import pick_device
from edm2lite.data.encoders import VAEEncoder
from edm2lite.data.packed import write_array, write_description
from edm2lite.data.prepare.convert import Conversion, finished, workspace_folder
from edm2lite.data.prepare.latents import encode_images, measured
from edm2lite.data.prepare.sources import stored_source
from edm2lite.data.prepare.workspace import JOURNAL, Workspace, check_settings, locked, room_on_disk, tidy
from edm2lite.data.prepare.writers import made_by
from edm2lite.data.stored import StoredDataset
from edm2lite.errors import UserError
from edm2lite.files import create_json, write_json
from edm2lite.progress import progress_bar
from edm2lite.ranks import Rank, rank_from_environment

CHUNK = 1024  # images in a file
_DTYPES = {"fp16": "float16", "fp32": "float32"}
_OURS = re.compile(r"\..*\.tmp|images-\d{5}\.npy|chunk-\d{5}\.json")  # what another rank may have written already


@dataclass(frozen=True)
class _Job:
    """What this process encodes.

    Attributes:
        cfg: As the command line says.
        source: Images.
        folder: Packed folder of latents; for a ZIP it lies beside it and is packed up at the end.
        settings: What the result depends on.
        rank: Which chunks are ours.
    """

    cfg: EncodeConfig
    source: StoredDataset
    folder: Path
    settings: dict[str, Any]
    rank: Rank

    @property
    def chunks(self) -> int:
        return -(-len(self.source) // CHUNK)

    def images(self, chunk: int) -> Path:
        return self.folder / f"images-{chunk:05d}.npy"

    def sums(self, chunk: int) -> Path:
        return self.folder / f"chunk-{chunk:05d}.json"


def encode(cfg: EncodeConfig) -> None:
    """Make the dataset `cfg.dest`, or go on with it; a finished one is left as it is.

    Raises:
        UserError: If source or destination are not what they should be, the VAE does not fit, memory or disk are full.
    """
    settings = {"command": "encode", "source": os.path.realpath(cfg.source)}
    settings |= {"vae": cfg.vae, "dtype": cfg.dtype, "statistics": cfg.statistics}
    dest = Path(cfg.dest)
    if finished(dest, settings):
        return
    if dest.suffix == ".zip" and cfg.statistics == "measured":
        raise UserError(
            "statistics are measured, but a ZIP in NVIDIA's layout cannot hold them; give a folder as --dest"
        )
    source = open_stored(cfg.source)
    if source.encoder["name"] != "rgb" or source.shape[1] != 3:
        raise UserError(
            f"{cfg.source} holds {source.dtype} {list(source.shape[1:])}; encode takes RGB images, uint8 [3, S, S]"
        )
    job = _Job(cfg, source, workspace_folder(dest), settings, rank_from_environment())
    with room_on_disk(dest):
        _begin(job)
        if made_by(dest) is not None:  # by another rank, since we looked
            return tidy(job.folder, dest)
        _encode_share(job)
        _complete(job, dest)


def _begin(job: _Job) -> None:
    """Make the folder, or check that it is an unfinished dataset of the same settings."""
    settings = job.settings | {"digest": fingerprint(job.source)}
    journal = job.folder / JOURNAL
    if (
        not journal.exists()
        and job.folder.exists()
        and not all(_OURS.fullmatch(path.name) for path in job.folder.iterdir())
    ):
        raise UserError(f"{job.folder} holds other files; choose another --dest, or empty it")
    if not create_json(journal, {"settings": settings}):
        check_settings(job.folder, json.loads(journal.read_text())["settings"], settings, "is unfinished and")


def _encode_share(job: _Job) -> None:
    """Encode the chunks of this rank that are missing."""
    mine = range(job.rank.index, job.chunks, job.rank.count)
    sizes = {chunk: min(CHUNK, len(job.source) - chunk * CHUNK) for chunk in mine}
    missing = [] if made_by(job.folder) else [chunk for chunk in mine if not job.sums(chunk).exists()]
    if not missing:
        return
    device, dtype = pick_device(job.cfg.device), _DTYPES[job.cfg.dtype]
    encoder = VAEEncoder(job.cfg.vae, batch_size=job.cfg.batch_size)
    done = sum(sizes.values()) - sum(sizes[chunk] for chunk in missing)
    with progress_bar(sum(sizes.values()), "encode", initial=done, disable=job.rank.index > 0) as bar:
        for chunk in missing:
            images = range(chunk * CHUNK, chunk * CHUNK + sizes[chunk])
            moments, sums = encode_images(job.source, images, encoder, device, dtype, bar.update)
            write_array(job.images(chunk), moments)
            write_json(job.sums(chunk), {"count": len(moments), "shape": moments.shape[1:], "sums": sums})


def _complete(job: _Job, dest: Path) -> None:
    """Complete the dataset if all chunks are there; of several ranks that find so, one does it."""
    if not made_by(job.folder) and not all(job.sums(chunk).exists() for chunk in range(job.chunks)):
        print(f"{dest}: the share of rank {job.rank.index} is done; the rank that ends last completes the dataset")
        return
    try:
        with locked(job.folder) as mine:
            if mine and made_by(job.folder) is None:
                _describe(job)
            if mine and dest != job.folder and made_by(dest) is None:
                _pack_up(job, dest)
    except FileNotFoundError:
        if made_by(dest) is None:
            raise
        return  # another rank was first, and has removed the folder beside the ZIP
    if mine:
        tidy(job.folder, dest)


def _describe(job: _Job) -> None:
    """Write labels and dataset.json."""
    chunks = [json.loads(job.sums(chunk).read_text()) for chunk in range(job.chunks)]
    source, shape = job.source, tuple(chunks[0]["shape"])
    if source.label_dim:
        write_array(job.folder / "labels.npy", np.asarray(source.labels, np.int64))
    spec: dict[str, Any] = {"name": "vae"}
    if job.cfg.statistics == "measured":
        spec |= measured([chunk["sums"] for chunk in chunks], len(source) * shape[-1] * shape[-2])
    counts = {job.images(i).name: chunk["count"] for i, chunk in enumerate(chunks)}
    dtype = _DTYPES[job.cfg.dtype]
    write_description(job.folder, counts, shape, dtype, source.label_dim, spec, source.classes, job.settings)
    print(f"{job.cfg.dest}: {len(source)} latents {dtype} {list(shape)}, encoder {spec}")


def _pack_up(job: _Job, dest: Path) -> None:
    """The finished packed folder as a ZIP of NPY."""
    cfg = ConvertConfig(source=str(job.folder), dest=str(dest), workers=1)
    with Workspace(job.folder / "zip", job.settings) as space:
        conversion = Conversion(cfg, stored_source(cfg.source), space)
        conversion.run()
        conversion.finish(job.settings)
