"""From the name of a model to a denoiser."""

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edm2lite.config import NetworkConfig, Nimg
from edm2lite.errors import UserError
from edm2lite.network.denoiser import Denoiser
from edm2lite.snapshots.files import SnapshotInfo, load_weights, read_info, read_tensors
from edm2lite.snapshots.nvidia_pickle import PublishedObject, PublishedSnapshot, read_nvidia_pickle
from edm2lite.snapshots.posthoc import find_or_reconstruct

NVIDIA_LICENCE = "CC BY-NC-SA 4.0 (NVIDIA)"


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
        digest = hashlib.sha256()
        for name, tensor in sorted(self.denoiser.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().numpy().tobytes())
        return digest.hexdigest()


def load_denoiser(
    path: str | os.PathLike, *, nimg: int | str | None = None, ema: float | None = None,
    device: torch.device | str = "cpu",
) -> Denoiser:  # fmt: skip
    """The denoiser that a path names.

    Args:
        path: Run directory, snapshot file (.safetensors), or snapshot in NVIDIA's layout (.pkl; nothing in it is run).
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
    path = Path(path)
    nimg = None if nimg is None else Nimg(nimg)
    if not path.exists():
        raise UserError(f"model {path} does not exist; it must be a run directory, a .safetensors or a .pkl file")
    if path.is_dir():
        path = find_or_reconstruct(path, nimg, ema)
    info, tensors = _read_nvidia(path) if path.suffix == ".pkl" else (read_info(path), read_tensors(path))
    for name, asked, stored in (("nimg", nimg, info.nimg), ("ema", ema, info.sigma_rel)):
        if asked is not None and asked != stored:
            raise UserError(
                f"{path} is one snapshot with {name} {'unknown' if stored is None else stored}, but {name} {asked} was "
                f"asked for; leave {name} out, or name the run directory"
            )
    return LoadedModel(load_weights(info.denoiser(), tensors, path).to(device), info, path)


def _read_nvidia(path: Path) -> tuple[SnapshotInfo, dict[str, Tensor]]:
    """Snapshot in NVIDIA's layout, as ours."""
    published = read_nvidia_pickle(path)
    arguments = dict(published.network.init_kwargs)
    try:
        shape = {k: int(arguments.pop(k)) for k in ("img_resolution", "img_channels", "label_dim")}  # type: ignore[call-overload]
        arguments.pop("use_fp16", None)
        network = NetworkConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()})  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError) as e:
        raise UserError(f"{path}: its network is not an EDM2 denoiser ({type(e).__name__}: {e})") from e
    info = SnapshotInfo(network=network, encoder=_encoder(published, path), licence=NVIDIA_LICENCE, **shape)
    return info, {name: torch.from_numpy(array) for name, array in published.tensors.items()}


def _encoder(published: PublishedSnapshot, path: Path) -> dict[str, Any]:
    """Specification of the encoder that a published snapshot names."""
    name = published.encoder.class_name if isinstance(published.encoder, PublishedObject) else "StandardRGBEncoder"
    if name == "StandardRGBEncoder":
        return {"name": "rgb", "scale": 127.5}
    if name == "StabilityVAEEncoder":
        return {"name": "vae"}
    raise UserError(f"{path}: unknown encoder {name}; known are StandardRGBEncoder and StabilityVAEEncoder")
