"""manifest.json: who made the images of a folder, so that anyone can make them again, and nobody mixes them up."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edm2lite.config import SampleConfig, plain
from edm2lite.errors import UserError
from edm2lite.files import create_json, write_json
from edm2lite.sampling.describe import essence, machine
from edm2lite.sampling.pair import Pair
from edm2lite.sampling.stores import open_store

_BOOKS = {
    "status", "format", "latents", "network_evaluations", "seeds", "num_images", "images_sha256", "labels",
    "batch_size_halved_to",
}  # fmt: skip


class Manifest:
    """The manifest of `cfg.outdir`; several processes may write it at once, all the same.

    Args:
        cfg: What is asked for.
        pair: Who makes it.
    """

    def __init__(self, cfg: SampleConfig, pair: Pair):
        self.outdir, self.path = Path(cfg.outdir), Path(cfg.outdir) / "manifest.json"
        self.identity = _identity(cfg, pair)
        self.books = {
            "format": cfg.format,
            "latents": cfg.latents,
            "network_evaluations": pair.evaluations(cfg.sampler),
            "seeds": cfg.seeds,
        }

    def begin(self, missing: bool, alone: bool) -> None:
        """Write the manifest of a new folder; check that an old one was made the same way.

        A manifest without images, left by a start that failed, binds nobody who is alone; other processes it does.

        Args:
            missing: Whether images are yet to be made.
            alone: Whether no other process fills the same folder.

        Raises:
            UserError: If the folder holds images made otherwise, or in another format.
        """
        manifest = {"status": "incomplete", **self.identity, **self.books}
        if create_json(self.path, manifest):
            return
        old = self._read()
        form = old.get("format", "png")
        if open_store(self.outdir, form, latents=False).held() or not alone:
            self.check()
        else:
            for marker in self._markers():
                marker.unlink(missing_ok=True)
        if old != manifest and missing:
            write_json(self.path, manifest)

    def check(self) -> None:
        """Raise a UserError if the folder is for images made otherwise: another command may have begun before our first one."""
        old = self._read()
        self._check_same(old)
        self._check_format(old.get("format", "png"))

    def note_halved(self, batch_size: int) -> None:
        """Remember that memory ran out, and images were then computed so many at a time."""
        (self.outdir / f".batch_size-{batch_size}").touch()

    def complete(self, hashes: dict[int, str], labels: dict[int, int]) -> None:
        """Write the manifest of a complete folder, with the SHA-256 of every image and its class by its seed."""
        halved = sorted(int(marker.name.split("-")[1]) for marker in self._markers())
        notes = {"batch_size_halved_to": halved} if halved else {}
        numbers = {"num_images": len(hashes), "images_sha256": hashes} | ({"labels": labels} if labels else {})
        write_json(self.path, {"status": "complete", **self.identity, **self.books, **notes, **numbers})

    def _markers(self) -> list[Path]:
        return list(self.outdir.glob(".batch_size-*"))

    def _read(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self.path.read_text()))
        except (ValueError, TypeError) as e:
            raise UserError(f"{self.path} is damaged ({e}); choose another --outdir, or delete {self.outdir}") from e

    def _check_same(self, old: dict[str, Any]) -> None:
        """Raise a UserError that names what differs, unless images are made in the same way."""
        for key in sorted((old.keys() - _BOOKS) | self.identity.keys()):
            before, now = old.get(key), self.identity.get(key)
            if essence(before) != essence(now):
                raise UserError(
                    f"{self.outdir} holds images made with another {_difference(key, before, now)}; "
                    "choose another --outdir, or delete that one"
                )

    def _check_format(self, form: str) -> None:
        if form != self.books["format"]:
            raise UserError(
                f"{self.outdir} holds images with --format {form}, now it is {self.books['format']}; "
                f"choose another --outdir, or --format {form}"
            )


def _identity(cfg: SampleConfig, pair: Pair) -> dict[str, Any]:
    """Everything that decides the bytes of an image besides its seed, as it reads back from JSON."""
    labels = {"uniform": "uniform, from the seed", "balanced": "balanced, seed modulo classes"}[cfg.labels]
    identity = (
        pair.describe()
        | {
            "sampler": plain(asdict(cfg.sampler)),
            "encoder": pair.main.info.encoder,
            "label": labels if cfg.label is None else cfg.label,
            "batch_size": cfg.batch_size,
            "precision": cfg.precision,
        }
        | machine(pair.device)
    )
    return dict(json.loads(json.dumps(identity)))


def _difference(key: str, old: Any, new: Any) -> str:
    """What differs: "sampler.num_steps (32, now 16)"."""
    if isinstance(old, dict) and isinstance(new, dict):
        names = [k for k in {**old, **new} if old.get(k) != new.get(k)]
        return ", ".join(_difference(f"{key}.{k}", old.get(k), new.get(k)) for k in names)
    return f"{key} ({json.dumps(old)}, now {json.dumps(new)})"
