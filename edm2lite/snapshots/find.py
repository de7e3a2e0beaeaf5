"""From the name of a model to the file of its weights, and what they are."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from edm2lite.config import Nimg
from edm2lite.errors import UserError
from edm2lite.snapshots.fetch import locate
from edm2lite.snapshots.files import SnapshotInfo, read_info, read_tensors
from edm2lite.snapshots.nvidia import read_published
from edm2lite.snapshots.posthoc import find_or_reconstruct

Choose = Callable[[Path, Nimg | None, float | None], Path]  # run directory, nimg, EMA length -> snapshot file


@dataclass(frozen=True)
class Found:
    """A snapshot that a name led to.

    Attributes:
        place: What the name names on this machine: a file or a run directory.
        path: The file.
        info: What it is of.
        tensors: Reads its tensors by name.
    """

    place: Path
    path: Path
    info: SnapshotInfo
    tensors: Callable[[], dict[str, Tensor]]


def find(
    path: str | os.PathLike, nimg: Nimg | None, ema: float | None, *, what: str = "model",
    choose: Choose = find_or_reconstruct,
) -> Found:  # fmt: skip
    """Find a snapshot; of a .safetensors file the header is read, a .pkl as a whole.

    Args:
        path: Run directory, snapshot file, snapshot in NVIDIA's layout, the URL of such a file, or "nvidia:NAME".
        nimg, ema: Which snapshot of a run directory; a file must be that very one. None: any.
        what: How messages call it.
        choose: Picks the file of a run directory.

    Raises:
        UserError: If there is no such model, or a file of one is asked for another nimg or ema than its own.
    """
    place = Path(locate(os.fspath(path), nimg, ema))
    if not place.exists():
        raise UserError(
            f"{what} {path} does not exist; it must be a run directory, a .safetensors or a .pkl file, or its URL"
        )
    file = choose(place, nimg, ema) if place.is_dir() else place
    found = _open(place, file)
    for name, asked, stored in (("nimg", nimg, found.info.nimg), ("ema", ema, found.info.sigma_rel)):
        if asked is not None and asked != stored:
            raise UserError(
                f"{file} is one snapshot with {name} {'unknown' if stored is None else stored}, but {name} {asked} was "
                f"asked for; leave {name} out, or name the run directory"
            )
    return found


def _open(place: Path, file: Path) -> Found:
    if file.suffix == ".pkl":
        info, tensors = read_published(file)
        return Found(place, file, info, lambda: tensors)
    return Found(place, file, read_info(file), lambda: read_tensors(file))
