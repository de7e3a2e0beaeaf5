"""Reference statistics: of which images, in the features of which detectors, and the file that holds them."""

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edm2lite.config import Metric
from edm2lite.errors import UserError
from edm2lite.evaluation.detectors.detector import Detector
from edm2lite.files import atomic_path, digest
from edm2lite.sampling.preflight import check_reference_exists

FORMAT = 2  # of our .npz


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Of a reference set in the features of one detector.

    Attributes:
        mu, sigma: Mean [D] and unbiased covariance [D, D], float64.
        num_images: Images behind them; None where a foreign file does not tell.
        identity: The detector's `identity`; None where a foreign file does not tell.
        features: Some of the features, float32 [M, D], for metrics that need more than the moments; None: not kept.
        labels: Their classes, int64 [M], where known.
    """

    mu: np.ndarray = field(repr=False)
    sigma: np.ndarray = field(repr=False)
    num_images: int | None = None
    identity: dict[str, str] | None = None
    features: np.ndarray | None = field(default=None, repr=False)
    labels: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.mu.ndim != 1 or self.sigma.shape != (len(self.mu), len(self.mu)):
            raise UserError(
                f"statistics have shapes {list(self.mu.shape)} and {list(self.sigma.shape)}, not [D] and [D, D]"
            )
        if not (np.isfinite(self.mu).all() and np.isfinite(self.sigma).all()):
            raise UserError("statistics hold values that are not finite")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Statistics of one set of images.

    Attributes:
        path: The file.
        data: What it says about the images: name, fingerprint ...
        statistics: By name of the detector.
        images: A file that holds some of the images themselves (ADM's), or None.
    """

    path: str
    data: dict[str, Any]
    statistics: Mapping[str, Statistics]
    images: str | None = None

    def detector_of(self, metric: Metric) -> str:
        """Name of the detector of a metric.

        Raises:
            UserError: If the reference has no statistics of it, or the metric names none and there are several.
        """
        there = ", ".join(self.statistics)
        if metric.detector is None and len(self.statistics) > 1:
            names = ", ".join(Metric(metric.kind, detector).name for detector in self.statistics)
            raise UserError(
                f"metric {metric.name} names no detector, and {self.path} has {there}; name one of: {names}"
            )
        name = metric.detector or next(iter(self.statistics))
        if name not in self.statistics:
            raise UserError(
                f"metric {metric.name} needs statistics of {name}, but {self.path} has those of {there}; choose others, or "
                f"make it anew: evaluate.py ref --detectors '[{name}]' --out {self.path}"
            )
        return name

    def check(self, detector: Detector) -> None:
        """Raise a UserError unless the statistics were made by this very detector and preprocessing."""
        statistics = self.statistics[detector.name]
        if len(statistics.mu) != detector.dim:
            raise UserError(
                f"{self.path} has {len(statistics.mu)} features of {detector.name}, but {detector.title} makes {detector.dim}; "
                "get the right file"
            )
        for key, here in detector.identity.items():
            there = (statistics.identity or detector.identity).get(key)
            if there != here:
                raise UserError(
                    f"{self.path} was made with {key} {there}, but here it is {here}; numbers of both cannot be compared: make "
                    "the statistics anew (evaluate.py ref), or use the same detector"
                )

    def fingerprint(self, name: str) -> str:
        """Identity of the statistics of a detector, for ledgers."""
        s = self.statistics[name]
        kept = None if s.features is None else [list(s.features.shape), s.features[:16].tolist()]
        return digest([s.mu.tolist(), np.diag(s.sigma).tolist(), float(s.sigma.sum()), s.num_images, kept])

    def save(self) -> None:
        """Write as .npz, atomically."""
        arrays: dict[str, np.ndarray] = {}
        about: dict[str, Any] = {"format": FORMAT, "data": self.data, "detectors": {}}
        for name, s in self.statistics.items():
            about["detectors"][name] = {"num_images": s.num_images, "identity": s.identity}
            for key in ("mu", "sigma", "features", "labels"):
                if (array := getattr(s, key)) is not None:
                    arrays[f"{name}/{key}"] = array
        with atomic_path(self.path) as temporary, open(temporary, "wb") as f:
            np.savez(f, provenance=np.array(json.dumps(about)), **arrays)  # type: ignore[arg-type]


def load_reference(path: str | os.PathLike) -> Reference:
    """Read our own .npz, ADM's or EDM's .npz, or NVIDIA's .pkl.

    Raises:
        UserError: If the file is missing, damaged, or holds something else.
    """
    path = os.fspath(path)
    check_reference_exists(path)
    if Path(path).suffix == ".pkl":
        from edm2lite.evaluation.foreign import read_nvidia_statistics

        return read_nvidia_statistics(path)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if "provenance" in arrays:
                return _ours(path, arrays)
            if "mu" in arrays and "sigma" in arrays:
                from edm2lite.evaluation.foreign import from_moments

                return from_moments(path, arrays)
            raise ValueError(f"it holds {', '.join(arrays) or 'nothing'}")
    except (KeyError, ValueError, OSError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as e:
        raise UserError(f"{path} holds no reference statistics ({e}); make them: evaluate.py ref --out {path}") from e


def _ours(path: str, arrays: Any) -> Reference:
    about = json.loads(str(arrays["provenance"]))
    if about.get("format") != FORMAT:
        raise ValueError("it was written by another version of edm2lite")
    there = set(arrays)
    statistics = {}
    for name, facts in about["detectors"].items():
        keys = [key for key in ("mu", "sigma", "features", "labels") if f"{name}/{key}" in there]
        statistics[name] = Statistics(**facts, **{key: arrays[f"{name}/{key}"] for key in keys})
    return Reference(path=path, data=about["data"], statistics=statistics)
