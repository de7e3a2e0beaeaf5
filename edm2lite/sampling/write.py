"""A folder of sampled images: PNGs by seed, a contact sheet, and a manifest that says who made them."""

import json
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from edm2lite import __version__
from edm2lite.config import SampleConfig, parse_seeds, plain
from edm2lite.errors import UserError
from edm2lite.files import sha256, write_json
from edm2lite.progress import progress_bar
from edm2lite.sampling.images import held_seeds, image_path, read_png, sheet, write_png
from edm2lite.sampling.pair import Pair, load_pair
from edm2lite.sampling.preflight import check_guidance

SHEET_IMAGES = 64


def sample(cfg: SampleConfig) -> None:
    """Sample the seeds that `cfg.outdir` does not hold yet.

    Raises:
        UserError: If the folder holds images made otherwise, or a model cannot be loaded.
    """
    seeds, outdir = parse_seeds(cfg.seeds), Path(cfg.outdir)
    pair = load_pair(cfg.main, cfg.guide, check_guidance(cfg.guide, cfg.guidance), cfg.device, cfg.precision)
    pair.check(cfg.label)
    manifest = _begin(outdir, _identity(cfg, pair)) | {"seeds": cfg.seeds}
    missing = [seed for seed in seeds if not image_path(outdir, seed).exists()]
    if len(missing) < len(seeds):
        print(f"{outdir}: {len(seeds) - len(missing)} of {len(seeds)} images are there already")
    encoder = pair.encoder
    with progress_bar(len(missing), "sample", disable=not missing) as bar:
        for batch in pair.sample(missing, cfg.sampler, cfg.batch_size, cfg.label):
            for seed, pixels in zip(batch.seeds, encoder.decode(batch.images).cpu().numpy(), strict=True):
                write_png(image_path(outdir, seed), pixels)
            bar.update(len(batch.seeds))
    _finish(outdir, manifest, seeds)


def _identity(cfg: SampleConfig, pair: Pair) -> dict[str, Any]:
    """Everything that decides the bytes of an image besides its seed."""
    device = next(pair.main.denoiser.parameters()).device
    return pair.describe() | {
        "sampler": {"name": "heun", **plain(asdict(cfg.sampler))},
        "encoder": pair.main.info.encoder,
        "label": "uniform, from the seed" if cfg.label is None else cfg.label,
        "batch_size": cfg.batch_size,
        "precision": cfg.precision,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "versions": {"edm2lite": __version__} | {name: _version(name) for name in ("torch", "numpy", "pillow")},
    }


def _begin(outdir: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """Write the manifest of a new folder; check that an old one was made the same way."""
    path = outdir / "manifest.json"
    if path.exists() and held_seeds(outdir):
        old = json.loads(path.read_text())
        for key, value in identity.items():
            if _essence(key, old.get(key)) != _essence(key, json.loads(json.dumps(value))):
                raise UserError(
                    f"{outdir} holds images made with another {_difference(key, old.get(key), value)}; "
                    "choose another --outdir, or delete that one"
                )
    elif outdir.exists() and not path.exists() and any(outdir.glob("[!.]*")):
        raise UserError(f"{outdir} is not empty and holds no manifest.json; choose another --outdir")
    manifest = {"status": "incomplete", **identity}
    write_json(path, manifest)
    return manifest


def _difference(key: str, old: Any, new: Any) -> str:
    """What differs: "sampler.num_steps (32, now 16)"."""
    if isinstance(old, dict) and isinstance(new, dict):
        return ", ".join(_difference(f"{key}.{k}", old.get(k), new[k]) for k in new if old.get(k) != new[k])
    return f"{key} ({json.dumps(old)}, now {json.dumps(new)})"


def _essence(key: str, value: Any) -> Any:
    """A model is the same if its weights are, wherever its file lies."""
    return value.get("weights_sha256") if key in ("main", "guide") and isinstance(value, dict) else value


def _finish(outdir: Path, manifest: dict[str, Any], seeds: list[int]) -> None:
    """Contact sheet of the first images, and the manifest with a hash of every image."""
    first = [read_png(image_path(outdir, seed)) for seed in seeds[:SHEET_IMAGES]]
    write_png(outdir / "contact_sheet.png", sheet(first))
    held = held_seeds(outdir)
    hashes = {seed: sha256(image_path(outdir, seed)) for seed in held}
    write_json(
        outdir / "manifest.json", manifest | {"status": "complete", "num_images": len(held), "images_sha256": hashes}
    )
    print(f"{len(held)} images in {outdir}; look at {outdir / 'contact_sheet.png'}")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
