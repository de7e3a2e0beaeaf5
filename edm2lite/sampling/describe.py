"""What a model is, for manifests and ledgers, and which of it decides the images."""

from typing import Any

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
