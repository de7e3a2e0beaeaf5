"""Post-hoc EMA: any EMA length at any stored time, as a linear combination of stored snapshots (2024a, Section 3.2)."""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from edm2lite.config import ModelRef, Nimg
from edm2lite.errors import UserError
from edm2lite.files import cache_dir, remove_abandoned
from edm2lite.progress import progress_bar
from edm2lite.snapshots.files import SnapshotInfo, read_info, read_metadata, read_tensors, save_snapshot
from edm2lite.snapshots.index import StoredSnapshot, snapshot_name, snapshots_until
from edm2lite.snapshots.once import one_at_a_time
from edm2lite.snapshots.power_function import posthoc_coefficients

MEMORY = 4 * 2**30  # bytes of sums; an EDM2-S has 1.1 GB of them
_LONG_READ = 4 * 2**30  # bytes; what is read in seconds needs no bar


@dataclass
class _Profile:
    """A wanted time and EMA length: the coefficient of each file, and the sums so far."""

    path: Path
    nimg: Nimg
    sigma_rel: float
    stored: Sequence[StoredSnapshot]
    coefficients: dict[Path, float]
    tensors: dict[str, Tensor] = field(default_factory=dict)

    @property
    def sources(self) -> str:
        """What the cached file is made of; another text, and it is made again."""
        return json.dumps([[s.path.name, s.path.stat().st_mtime_ns, self.coefficients[s.path]] for s in self.stored])

    @property
    def cached(self) -> bool:
        try:
            return self.path.exists() and read_metadata(self.path).get("sources") == self.sources
        except UserError:  # damaged
            return False

    def add(self, path: Path, name: str, tensor: Tensor) -> None:
        """Add one float32 tensor of a file, times the file's coefficient."""
        if name not in self.tensors:
            self.tensors[name] = torch.zeros(tensor.shape)
        self.tensors[name].add_(tensor, alpha=self.coefficients[path])


def find_or_reconstruct(run_dir: str | os.PathLike, nimg: int | None, sigma_rel: float | None) -> Path:
    """The snapshot file of a run at a time and EMA length: a stored one, or one reconstructed and cached.

    Args:
        run_dir: Run directory.
        nimg: Time, one of the stored; None: the last.
        sigma_rel: EMA length; None: the shortest stored.

    Raises:
        UserError: If the run has no snapshot at that time, or the length is out of range.
    """
    return reconstruct(run_dir, [(nimg, sigma_rel)])[0]


def reconstruct_for(refs: Iterable[ModelRef]) -> None:
    """Make what the models of a job need, so that loading them finds it: those of one run directory in one read.

    Args:
        refs: Models with local paths (see `edm2lite.snapshots.fetch.resolve`); files among them need nothing.

    Raises:
        UserError: As `find_or_reconstruct`.
    """
    targets: dict[str, list[tuple[int | None, float | None]]] = {}
    for ref in refs:
        if ref.path is not None and os.path.isdir(ref.path):
            targets.setdefault(ref.path, []).append((ref.nimg, ref.ema))
    for run_dir, wanted in targets.items():
        reconstruct(run_dir, wanted)


def reconstruct(
    run_dir: str | os.PathLike, targets: Sequence[tuple[int | None, float | None]], memory: int = MEMORY
) -> list[Path]:
    """The snapshot files of a run at several times and EMA lengths, which read each stored snapshot once.

    The sums are those of one reconstruction at a time, to the bit. Of several processes one makes the files.

    Args:
        run_dir: Run directory.
        targets: Pairs (nimg, sigma_rel) as `find_or_reconstruct` takes them.
        memory: Bytes of sums at a time (but one target at least); more targets are made in groups, each of which reads
            the snapshots again.

    Returns:
        A file for each target.

    Raises:
        UserError: As `find_or_reconstruct`, before anything is computed; or if a snapshot is damaged.
    """
    found = [_find(Path(run_dir), nimg, sigma_rel) for nimg, sigma_rel in targets]
    wanted = {p.path: p for p in found if isinstance(p, _Profile) and not p.cached}
    if wanted:
        with one_at_a_time(_cache_folder(Path(run_dir)) / ".lock", f"it reconstructs EMA lengths of {run_dir}"):
            remove_abandoned(_cache_folder(Path(run_dir)))
            _reconstruct([p for p in wanted.values() if not p.cached], memory)
    return [p.path for p in found]


def _find(run_dir: Path, nimg: int | None, sigma_rel: float | None) -> StoredSnapshot | _Profile:
    """A stored snapshot, or the profile to reconstruct."""
    stored = snapshots_until(run_dir, nimg)
    nimg = stored[-1].nimg
    lengths = {s.sigma_rel: s for s in stored if s.nimg == nimg}
    sigma_rel = min(lengths) if sigma_rel is None else sigma_rel
    if sigma_rel in lengths:
        return lengths[sigma_rel]
    column = posthoc_coefficients([s.nimg for s in stored], [s.sigma_rel for s in stored], [nimg], [sigma_rel])[:, 0]
    coefficients = {s.path: float(c) for s, c in zip(stored, column, strict=True)}
    path = _cache_folder(run_dir) / snapshot_name(nimg, sigma_rel)
    return _Profile(path, nimg, sigma_rel, stored, coefficients)


def _cache_folder(run_dir: Path) -> Path:
    """Beside the snapshots; for a run that belongs to somebody else, in the user's own cache."""
    if os.access(run_dir, os.W_OK):
        return run_dir / "posthoc"
    return cache_dir() / "posthoc" / hashlib.sha256(str(run_dir.resolve()).encode()).hexdigest()[:16]


def _reconstruct(profiles: Sequence[_Profile], memory: int) -> None:
    """Make the files of the profiles, as many at a time as their sums have room."""
    if not profiles:
        return
    profiles = sorted(profiles, key=lambda p: p.nimg)  # so that early ones do not read late snapshots
    info = read_info(profiles[0].stored[-1].path)
    with torch.device("meta"):
        net = info.build()
    buffers = dict(net.named_buffers())
    room = max(1, memory // (4 * sum(tensor.numel() for tensor in net.state_dict().values())))
    for first in range(0, len(profiles), room):
        _reconstruct_together(profiles[first : first + room], info, buffers)


def _reconstruct_together(profiles: Sequence[_Profile], info: SnapshotInfo, buffers: Iterable[str]) -> None:
    """Make the files of some profiles in one pass over the snapshots; one of these is mapped at a time."""
    paths = [s.path for s in profiles[-1].stored]  # the latest profile's: it is made of those of the others, too
    sources = [profile.sources for profile in profiles]
    size = sum(path.stat().st_size for path in paths)
    with progress_bar(size, f"post-hoc EMA of {len(profiles)} lengths", disable=size < _LONG_READ, unit="B") as bar:
        for path in paths:
            _add_file(path, [p for p in profiles if path in p.coefficients], buffers)
            bar.update(path.stat().st_size)
    for profile, source in zip(profiles, sources, strict=True):
        save_snapshot(profile.path, profile.tensors, info.at(profile.nimg, profile.sigma_rel), sources=source)
        profile.tensors.clear()


def _add_file(path: Path, profiles: Sequence[_Profile], buffers: Iterable[str]) -> None:
    """Read one snapshot for all profiles that it is part of."""
    for name, tensor in read_tensors(path).items():
        if name in buffers:  # they never change: taken as they are, not averaged to rounding
            for profile in profiles:
                profile.tensors[name] = tensor
        else:
            weights = tensor.to(torch.float32)
            for profile in profiles:
                profile.add(path, name, weights)
