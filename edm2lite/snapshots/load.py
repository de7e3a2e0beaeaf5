"""From the name of a model to a denoiser."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edm2lite.config import Nimg
from edm2lite.data.encoders import VAE_STATISTICS, make_encoder
from edm2lite.errors import UserError, unknown_name
from edm2lite.network.denoiser import Denoiser
from edm2lite.snapshots.fetch import locate
from edm2lite.snapshots.files import (
    SnapshotInfo,
    fingerprint,
    first_line,
    load_weights,
    network_config,
    read_info,
    read_tensors,
)
from edm2lite.snapshots.nvidia_pickle import PublishedSnapshot, read_nvidia_pickle
from edm2lite.snapshots.posthoc import find_or_reconstruct
from edm2lite.snapshots.published import NVIDIA_LICENCE, parse_file_name


@dataclass(frozen=True)
class LoadedModel:
    """A denoiser with what it is and where it came from.

    Attributes:
        denoiser: Ready for use, frozen.
        info: What the snapshot is of.
        path: The file its weights were read from.
    """

    denoiser: Denoiser
    info: SnapshotInfo
    path: Path

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over names and bytes of all weights: the identity of the model wherever its file lies."""
        return fingerprint(self.denoiser)


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
    nimg, ema = None if nimg is None else Nimg(nimg), None if ema is None else float(ema)
    path = Path(locate(os.fspath(path), nimg, ema))
    if not path.exists():
        raise UserError(
            f"model {path} does not exist; it must be a run directory, a .safetensors or a .pkl file, or its URL"
        )
    if path.is_dir():
        path = find_or_reconstruct(path, nimg, ema)
    info, tensors = read_published(path) if path.suffix == ".pkl" else (read_info(path), read_tensors(path))
    for name, asked, stored in (("nimg", nimg, info.nimg), ("ema", ema, info.sigma_rel)):
        if asked is not None and asked != stored:
            raise UserError(
                f"{path} is one snapshot with {name} {'unknown' if stored is None else stored}, but {name} {asked} was "
                f"asked for; leave {name} out, or name the run directory"
            )
    return LoadedModel(load_weights(info, tensors, path).to(device), info, path)


def read_published(path: Path) -> tuple[SnapshotInfo, dict[str, Tensor]]:
    """Snapshot in NVIDIA's layout, as ours; time and EMA length are what the file's name says, if it says them."""
    published, named = read_nvidia_pickle(path), parse_file_name(path.name)
    arguments = {k: v for k, v in published.network.init_kwargs.items() if k != "use_fp16"}
    try:
        shape: dict[str, Any] = {k: arguments.pop(k) for k in ("img_resolution", "img_channels", "label_dim")}
        if not all(type(v) is int and v >= 0 for v in shape.values()):
            raise TypeError("sizes must be whole numbers")
        info = SnapshotInfo(
            network=network_config(arguments), encoder=_encoder(published), licence=NVIDIA_LICENCE, **shape,
            nimg=named.nimg if named else None, sigma_rel=named.ema if named else None,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as e:
        raise UserError(f"{path}: no EDM2 denoiser that can be used here ({type(e).__name__}: {first_line(e)})") from e
    return info, {name: torch.from_numpy(array) for name, array in published.tensors.items()}


def _encoder(published: PublishedSnapshot) -> dict[str, Any]:
    """Specification of the encoder that a published snapshot names, with its own statistics if it has any."""
    if published.encoder is None or published.encoder.class_name == "StandardRGBEncoder":
        return {"name": "rgb", "scale": 127.5}
    if published.encoder.class_name != "StabilityVAEEncoder":
        raise unknown_name("encoder", published.encoder.class_name, ("StandardRGBEncoder", "StabilityVAEEncoder"))
    arguments = published.encoder.init_kwargs
    statistics = {k: np.asarray(arguments[k], np.float64).tolist() for k in VAE_STATISTICS if k in arguments}
    spec = {"name": "vae", **statistics}
    make_encoder(spec)
    return spec
