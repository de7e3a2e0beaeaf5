"""Snapshots in NVIDIA's layout, as ours."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edm2lite.data.encoders import VAE_STATISTICS, make_encoder
from edm2lite.errors import UserError, first_line, unknown_name
from edm2lite.snapshots.files import SnapshotInfo, network_config
from edm2lite.snapshots.nvidia_pickle import PublishedSnapshot, read_nvidia_pickle
from edm2lite.snapshots.published import NVIDIA_LICENCE, parse_file_name


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
