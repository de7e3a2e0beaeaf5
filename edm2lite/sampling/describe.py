"""What a model is, for manifests and ledgers, and which of it decides the images."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from edm2lite import __version__
from edm2lite.config import ModelRef
from edm2lite.snapshots.classifiers import LoadedClassifier
from edm2lite.snapshots.fetch import provenance
from edm2lite.snapshots.load import LoadedModel

_ABOUT_A_MODEL = {"file", "nimg", "ema", "dataset", "licence"}  # the same weights may have come to be in other ways


def essence(part: Any) -> Any:
    """What decides the images: of a described model its weights and how it is used, wherever its file lies."""
    if isinstance(part, dict) and "weights_sha256" in part:
        return {k: v for k, v in part.items() if k not in _ABOUT_A_MODEL}
    return part


def describe_model(model: LoadedModel | LoadedClassifier, ref: ModelRef | None = None) -> dict[str, Any]:
    """Identity of a model: its file, the hash of its weights, training length, EMA length, licence, degradations."""
    info = model.info
    return {
        "file": provenance(model.path),
        "weights_sha256": model.fingerprint,
        "nimg": None if info.nimg is None else int(info.nimg),
        "ema": info.sigma_rel,
        "dataset": info.dataset,
        "licence": info.licence,
        "degradations": ref.degradations if ref else {},
    }


def machine(device: torch.device) -> dict[str, Any]:
    """What images and numbers were made with: the device's name, and versions."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "versions": {"edm2lite": __version__} | {name: _version(name) for name in ("torch", "numpy", "pillow")},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
