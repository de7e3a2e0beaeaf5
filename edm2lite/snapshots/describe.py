"""What a model is, for people and for programs: `edm2lite snapshot info`. Of snapshot files only the header is read."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from edm2lite.config import InfoConfig, NetworkConfig, Nimg, plain
from edm2lite.errors import UserError
from edm2lite.files import sha256
from edm2lite.snapshots.files import SnapshotInfo
from edm2lite.snapshots.find import find
from edm2lite.snapshots.index import StoredSnapshot, snapshots_until, stored_snapshots

_ALWAYS_SHOWN = ("model_channels", "channel_mult", "num_blocks", "attn_resolutions")


def print_info(cfg: InfoConfig) -> None:
    """Print what `cfg.path` is, as text or as JSON."""
    found = describe(cfg.path, cfg.nimg, cfg.ema)
    print(json.dumps(found, indent=2) if cfg.json else as_text(found))


def describe(path: str, nimg: Nimg | None = None, ema: float | None = None) -> dict[str, Any]:
    """Everything that can be said of a model without running it, as JSON can hold it.

    Args:
        path: Snapshot file, run directory, NVIDIA snapshot, or the URL of a file.
        nimg, ema: Which snapshot of a run directory; default: the last, with the shortest EMA length.

    Raises:
        UserError: If there is no such model, or a file of one is asked for another nimg or ema than its own.
    """
    found = find(path, nimg, ema, choose=_stored_file)
    file = {
        "path": path,
        "type": _type(found.place),
        "file": str(found.path),
        "bytes": found.path.stat().st_size,
        "sha256": sha256(found.path),
    }
    stored = {"stored": _times(stored_snapshots(found.place))} if found.place.is_dir() else {}
    return file | _describe_info(found.info) | stored


def _type(place: Path) -> str:
    return "run directory" if place.is_dir() else "NVIDIA snapshot" if place.suffix == ".pkl" else "snapshot"


def _stored_file(run_dir: Path, nimg: Nimg | None, ema: float | None) -> Path:
    """A snapshot that lies there; none is reconstructed."""
    until = snapshots_until(run_dir, nimg)
    lengths = {s.sigma_rel: s.path for s in until if s.nimg == until[-1].nimg}
    if ema is not None and ema not in lengths:
        stored = ", ".join(map(str, lengths))
        raise UserError(
            f"{run_dir} stores no EMA length {ema} at nimg {until[-1].nimg}; it stores {stored} "
            "(sampling reconstructs any other)"
        )
    return lengths[min(lengths) if ema is None else ema]


def _describe_info(info: SnapshotInfo) -> dict[str, Any]:
    with torch.device("meta"):
        parameters = sum(p.numel() for p in info.build().parameters())
    return {
        "kind": info.kind,
        "parameters": parameters,
        "img_resolution": info.img_resolution,
        "img_channels": info.img_channels,
        "label_dim": info.label_dim,
        "encoder": info.encoder,
        "nimg": None if info.nimg is None else int(info.nimg),
        "ema": info.sigma_rel,
        "dataset": info.dataset,
        "licence": info.licence,
        "architecture": plain(asdict(info.network)),
    }


def _times(stored: Sequence[StoredSnapshot]) -> dict[str, list[float]]:
    """EMA lengths at each time."""
    times: dict[str, list[float]] = {}
    for snapshot in stored:
        times.setdefault(str(snapshot.nimg), []).append(snapshot.sigma_rel)
    return times


def as_text(found: dict[str, Any]) -> str:
    """The same as `describe`, in aligned lines."""
    unknown = "unknown"
    nimg = unknown if found["nimg"] is None else f"{Nimg(found['nimg'])} ({found['nimg']:,} images)"
    encoder = ", ".join(f"{v}" if k == "name" else f"{k} {v}" for k, v in found["encoder"].items())
    lines = {
        "path": f"{found['path']} ({found['type']})",
        "stored": _shortened(found["stored"]) if "stored" in found else None,
        "file": found["file"] if found["file"] != found["path"] else None,
        "size": f"{found['bytes']:,} bytes",
        "sha256": found["sha256"],
        "network": f"{found['kind']}, {found['parameters']:,} parameters",
        "": _architecture(found["architecture"]),
        "images": "{0} x {0} x {1}".format(found["img_resolution"], found["img_channels"]),
        "encoder": encoder,
        "classes": found["label_dim"] or "none",
        "nimg": nimg,
        "EMA length": unknown if found["ema"] is None else found["ema"],
        "dataset": found["dataset"] or unknown,
        "licence": found["licence"] or "not stated",
    }
    return "\n".join(f"{name:12}{value}" for name, value in lines.items() if value is not None)


def _shortened(times: dict[str, list[float]]) -> str:
    """ "16 snapshots: 5Ki ... 80Ki, EMA lengths 0.05, 0.1"."""
    names, lengths = list(times), sorted({length for stored in times.values() for length in stored})
    span = names[0] if len(names) == 1 else f"{names[0]} ... {names[-1]}"
    count = sum(map(len, times.values()))
    return f"{count} snapshots at {len(names)} times: {span}; EMA lengths {', '.join(map(str, lengths))}"


def _architecture(network: dict[str, Any]) -> str:
    """What differs from EDM2-S, and always the size."""
    defaults = plain(asdict(NetworkConfig()))
    return ", ".join(f"{k} {v}" for k, v in network.items() if k in _ALWAYS_SHOWN or v != defaults[k])
