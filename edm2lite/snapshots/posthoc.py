"""Post-hoc EMA: any EMA length at any stored time, as a linear combination of stored snapshots (2024a, Section 3.2)."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from edm2lite.config import Nimg
from edm2lite.files import cache_dir
from edm2lite.snapshots.files import SnapshotInfo, read_info, read_metadata, read_tensors, save_snapshot
from edm2lite.snapshots.index import StoredSnapshot, snapshot_name, snapshots_until
from edm2lite.snapshots.power_function import posthoc_coefficients


def find_or_reconstruct(run_dir: str | os.PathLike, nimg: int | None, sigma_rel: float | None) -> Path:
    """The snapshot file of a run at a time and EMA length: a stored one, or one reconstructed and cached.

    Args:
        run_dir: Run directory.
        nimg: Time, one of the stored; None: the last.
        sigma_rel: EMA length; None: the shortest stored.

    Raises:
        UserError: If the run has no snapshot at that time, or the length is out of range.
    """
    stored = snapshots_until(run_dir, nimg)
    nimg = stored[-1].nimg
    lengths = {s.sigma_rel: s.path for s in stored if s.nimg == nimg}
    sigma_rel = min(lengths) if sigma_rel is None else sigma_rel
    return lengths.get(sigma_rel) or _cached_reconstruction(Path(run_dir), stored, nimg, sigma_rel)


def _cached_reconstruction(run_dir: Path, stored: Sequence[StoredSnapshot], nimg: Nimg, sigma_rel: float) -> Path:
    """Reconstruct once; the cached file names its sources and is made again when they changed."""
    path = _cache_folder(run_dir) / snapshot_name(nimg, sigma_rel)
    column = posthoc_coefficients([s.nimg for s in stored], [s.sigma_rel for s in stored], [nimg], [sigma_rel])[:, 0]
    sources = json.dumps(
        [[s.path.name, s.path.stat().st_mtime_ns, float(c)] for s, c in zip(stored, column, strict=True)]
    )
    if not path.exists() or read_metadata(path).get("sources") != sources:
        info = read_info(stored[-1].path)
        tensors = combine([s.path for s in stored], column.tolist()) | _fixed_tensors(stored[-1].path, info)
        save_snapshot(path, tensors, info.at(nimg, sigma_rel), sources=sources)
    return path


def _cache_folder(run_dir: Path) -> Path:
    """Beside the snapshots; for a run that belongs to somebody else, in the user's own cache."""
    if os.access(run_dir, os.W_OK):
        return run_dir / "posthoc"
    return cache_dir() / "posthoc" / hashlib.sha256(str(run_dir.resolve()).encode()).hexdigest()[:16]


def combine(paths: Sequence[Path], coefficients: Sequence[float]) -> dict[str, Tensor]:
    """Linear combination of snapshot files, float32; one file is in memory at a time."""
    total: dict[str, Tensor] = {}
    for path, coefficient in zip(paths, coefficients, strict=True):
        for name, tensor in read_tensors(path).items():
            if name not in total:
                total[name] = torch.zeros(tensor.shape)
            total[name].add_(tensor.to(torch.float32), alpha=coefficient)
    return total


def _fixed_tensors(path: Path, info: SnapshotInfo) -> dict[str, Tensor]:
    """The buffers, which never change: taken as they are, not averaged to rounding."""
    with torch.device("meta"):
        buffers = dict(info.denoiser().named_buffers())
    return {name: tensor for name, tensor in read_tensors(path).items() if name in buffers}
