"""From the name of a model to a denoiser."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

import torch

from edm2lite.config import Nimg
from edm2lite.network.classifier import Network
from edm2lite.network.denoiser import Denoiser
from edm2lite.snapshots.files import SnapshotInfo, fingerprint, load_weights
from edm2lite.snapshots.find import find

Net = TypeVar("Net", bound=Network)


@dataclass(frozen=True)
class Loaded(Generic[Net]):
    """A network with what it is and where it came from.

    Attributes:
        net: Ready for use, frozen.
        info: What the snapshot is of.
        path: The file its weights were read from.
    """

    net: Net
    info: SnapshotInfo
    path: Path

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over names and bytes of all weights: the identity of the model wherever its file lies."""
        return fingerprint(self.net)


class LoadedModel(Loaded[Denoiser]):
    """A denoiser with what it is and where it came from."""

    @property
    def denoiser(self) -> Denoiser:
        """The network."""
        return self.net


def load_denoiser(
    path: str | os.PathLike, *, nimg: int | str | None = None, ema: float | None = None,
    device: torch.device | str = "cpu",
) -> Denoiser:  # fmt: skip
    """The denoiser that a path names.

    Args:
        path: Run directory, snapshot file (.safetensors), snapshot in NVIDIA's layout (.pkl; nothing in it is run), the URL of
            such a file, or "nvidia:NAME" for a published model.
        nimg: For a run directory: which snapshot, in images (134217728 or "128Mi"); default: the last.
        ema: For a run directory: EMA length sigma_rel, reconstructed post hoc if not stored; default: the shortest.
        device: Where to put it.

    Returns:
        `denoise(x, sigma, labels=None)` with `img_resolution`, `img_channels`, `label_dim`, `sigma_data`, `logvar(sigma)`.

    Raises:
        UserError: If there is no such model; says what there is.
    """
    return load_model(path, nimg=nimg, ema=ema, device=device).denoiser


def load_model(
    path: str | os.PathLike, *, nimg: int | str | None = None, ema: float | None = None,
    device: torch.device | str = "cpu",
) -> LoadedModel:  # fmt: skip
    """Like `load_denoiser`, with provenance."""
    found = find(path, None if nimg is None else Nimg(nimg), None if ema is None else float(ema))
    return LoadedModel(load_weights(found.info, found.tensors(), found.path).to(device), found.info, found.path)
