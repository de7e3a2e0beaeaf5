"""Which snapshots a run has, from their file names alone. Imports no torch, so that a wrong name is refused at once."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edm2lite.config import ModelRef, Nimg
from edm2lite.errors import UserError
from edm2lite.snapshots.fetch import resolve


@dataclass(frozen=True)
class StoredSnapshot:
    """A snapshot file of a run, with its time and EMA length."""

    path: Path
    nimg: Nimg
    sigma_rel: float


def snapshot_name(nimg: int, sigma_rel: float) -> str:
    """File name of a snapshot: 128Mi-ema0.05.safetensors."""
    return f"{Nimg(nimg)}-ema{float(sigma_rel)!r}.safetensors"


def stored_snapshots(run_dir: str | os.PathLike) -> list[StoredSnapshot]:
    """All snapshots of a run directory (or of a folder of snapshots), by time, then EMA length.

    Raises:
        UserError: If there are none.
    """
    run_dir = Path(run_dir)
    folder = run_dir / "snapshots" if (run_dir / "snapshots").is_dir() else run_dir
    found = []
    for path in folder.glob("*.safetensors"):
        if match := re.fullmatch(r"(\d+(?:[KMG]i)?)-ema(\d*\.\d+)\.safetensors", path.name):
            found.append(StoredSnapshot(path, Nimg(match[1]), float(match[2])))
    if not found:
        raise UserError(
            f"{run_dir} holds no snapshots; is it a run directory, and has the run reached its first snapshot?"
        )
    return sorted(found, key=lambda s: (s.nimg, s.sigma_rel))


def snapshots_until(run_dir: str | os.PathLike, nimg: int | None) -> list[StoredSnapshot]:
    """The snapshots of a run up to a time at which it has some; None: up to the last.

    Raises:
        UserError: If the run has no snapshot at that time; lists the times it has.
    """
    stored = stored_snapshots(run_dir)
    times = sorted({s.nimg for s in stored})
    if nimg is not None and nimg not in times:
        raise UserError(f"{run_dir} has no snapshot at nimg {Nimg(nimg)}; it has {_shorten(times)}")
    return [s for s in stored if nimg is None or s.nimg <= nimg]


def check_model(ref: ModelRef, what: str, models: str | None = None) -> None:
    """Check all that can be checked of a model's name without loading it; a remote model is downloaded.

    Args:
        ref: The model.
        what: Its part: main, guide ...
        models: Folder of published models, see `edm2lite.snapshots.fetch.resolve`.

    Raises:
        UserError: If it names nothing, the path is missing, it cannot be downloaded, the time was not saved, or a .pkl is not
            plain data.
    """
    if ref.path is None:
        raise UserError(f"no {what} model was named; name a run directory or a snapshot file: --{what}.path PATH")
    ref = resolve(ref, models)
    assert ref.path is not None
    if not os.path.exists(ref.path):
        raise UserError(
            f"{what} model {ref.path} does not exist; it must be a run directory, .safetensors or .pkl file, the URL of one, "
            "or nvidia:NAME"
        )
    if os.path.isdir(ref.path):
        snapshots_until(ref.path, ref.nimg)
    elif ref.path.endswith(".pkl"):
        from edm2lite.snapshots.nvidia_pickle import read_nvidia_pickle

        read_nvidia_pickle(ref.path)


def _shorten(times: Sequence[Nimg]) -> str:
    """List of times, its middle left out if it is long."""
    texts = [str(t) for t in times]
    return ", ".join(texts if len(texts) <= 12 else [*texts[:6], "...", *texts[-5:]])
