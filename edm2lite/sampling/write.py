"""A folder of sampled images: PNGs by seed, a contact sheet, and a manifest that says who made them."""

import json
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from edm2lite import __version__
from edm2lite.config import SampleConfig, parse_seeds, plain
from edm2lite.data.sheets import sheet
from edm2lite.errors import UserError
from edm2lite.files import create_json, sha256, write_json
from edm2lite.progress import progress_bar
from edm2lite.ranks import parse_shard
from edm2lite.sampling.images import held_seeds, image_path, read_png, write_png
from edm2lite.sampling.pair import Pair, load_pair
from edm2lite.sampling.preflight import check_guidance

SHEET_IMAGES = 64


def sample(cfg: SampleConfig) -> None:
    """Sample the seeds of this process's shard that `cfg.outdir` does not hold yet.

    Any number of processes may fill one folder. Each writes its own images and then looks: who finds all of them there
    completes the folder, so that the last one surely does, and two at the same time write the same.

    Raises:
        UserError: If the folder holds images made otherwise, or a model cannot be loaded.
    """
    seeds, shard, outdir = parse_seeds(cfg.seeds), parse_shard(cfg.shard), Path(cfg.outdir)
    pair = load_pair(cfg.main, cfg.guide, check_guidance(cfg.guide, cfg.guidance), cfg.device, cfg.precision, cfg.vae)
    pair.check(cfg.label)
    identity = _identity(cfg, pair)
    _begin(outdir, identity, cfg.seeds, alone=shard.count == 1)
    mine = seeds[shard.index :: shard.count]
    missing = _missing(outdir, mine)
    if len(missing) < len(mine):
        print(f"{outdir}: {len(mine) - len(missing)} of {len(mine)} images are there already")
    encoder = pair.encoder
    with progress_bar(len(missing), "sample", disable=not missing) as bar:
        for batch in pair.sample(missing, cfg.sampler, cfg.batch_size, cfg.label):
            for seed, pixels in zip(batch.seeds, encoder.decode(batch.images).cpu().numpy(), strict=True):
                write_png(image_path(outdir, seed), pixels)
            bar.update(len(batch.seeds))
    if others := _missing(outdir, seeds):
        print(f"{outdir}: shard {shard.index}/{shard.count} is done; other shards lack {len(others)} images")
    else:
        _finish(outdir, identity, cfg.seeds)


def _missing(outdir: Path, seeds: list[int]) -> list[int]:
    """Seeds without an image; from a listing, because a file server may remember that a single file was absent."""
    held = set(held_seeds(outdir))
    return [seed for seed in seeds if seed not in held]


def _identity(cfg: SampleConfig, pair: Pair) -> dict[str, Any]:
    """Everything that decides the bytes of an image besides its seed, as it reads back from JSON."""
    device = next(pair.main.denoiser.parameters()).device
    identity = pair.describe() | {
        "sampler": {"name": "heun", **plain(asdict(cfg.sampler))},
        "encoder": pair.main.info.encoder,
        "label": "uniform, from the seed" if cfg.label is None else cfg.label,
        "batch_size": cfg.batch_size,
        "precision": cfg.precision,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "versions": {"edm2lite": __version__} | {name: _version(name) for name in ("torch", "numpy", "pillow")},
    }
    return dict(json.loads(json.dumps(identity)))


def _begin(outdir: Path, identity: dict[str, Any], seeds: str, alone: bool) -> None:
    """Write the manifest of a new folder; check that an old one was made the same way.

    A manifest without images, left by a start that failed, binds nobody who is `alone`; other shards it does.
    """
    path, manifest = outdir / "manifest.json", {"status": "incomplete", **identity, "seeds": seeds}
    if outdir.exists() and any(outdir.glob("[!.]*")) and not path.exists():
        raise UserError(f"{outdir} is not empty and holds no manifest.json; choose another --outdir")
    if create_json(path, manifest):
        return
    old = json.loads(path.read_text())
    if held_seeds(outdir) or not alone:
        _check_same(outdir, old, identity)
    if old != manifest and _missing(outdir, parse_seeds(seeds)):
        write_json(path, manifest)


def _check_same(outdir: Path, old: dict[str, Any], identity: dict[str, Any]) -> None:
    """Raise a UserError that names what differs, unless a folder's images are made in the same way."""
    for key, value in identity.items():
        if _essence(key, old.get(key)) != _essence(key, value):
            raise UserError(
                f"{outdir} holds images made with another {_difference(key, old.get(key), value)}; "
                "choose another --outdir, or delete that one"
            )


def _difference(key: str, old: Any, new: Any) -> str:
    """What differs: "sampler.num_steps (32, now 16)"."""
    if isinstance(old, dict) and isinstance(new, dict):
        return ", ".join(_difference(f"{key}.{k}", old.get(k), new[k]) for k in new if old.get(k) != new[k])
    return f"{key} ({json.dumps(old)}, now {json.dumps(new)})"


def _essence(key: str, value: Any) -> Any:
    """A model is the same if its weights are, wherever its file lies."""
    return value.get("weights_sha256") if key in ("main", "guide") and isinstance(value, dict) else value


def _finish(outdir: Path, identity: dict[str, Any], seeds: str) -> None:
    """Contact sheet of the first images, and the manifest with a hash of every image."""
    first = [read_png(image_path(outdir, seed)) for seed in parse_seeds(seeds)[:SHEET_IMAGES]]
    write_png(outdir / "contact_sheet.png", sheet(first))
    hashes = {seed: sha256(image_path(outdir, seed)) for seed in held_seeds(outdir)}
    manifest = {"status": "complete", **identity, "seeds": seeds, "num_images": len(hashes), "images_sha256": hashes}
    write_json(outdir / "manifest.json", manifest)
    print(f"{len(hashes)} images in {outdir}; look at {outdir / 'contact_sheet.png'}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
