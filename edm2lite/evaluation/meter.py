"""Measures images against a reference: their features, kept on disk, then any number of metrics of them."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from edm2lite.config import MeasureConfig, Metric
from edm2lite.data.devices import pick_device
from edm2lite.errors import UserError
from edm2lite.evaluation.detectors.load import check_shape, load_detector
from edm2lite.evaluation.extract import extract
from edm2lite.evaluation.metrics.frechet import FrechetReference
from edm2lite.evaluation.metrics.neighbours import Manifold
from edm2lite.evaluation.metrics.protocol import NEIGHBOURS, needs_features, needs_labels, protocol
from edm2lite.evaluation.metrics.scoring import frechet_reference, reference_manifold, scores
from edm2lite.evaluation.reference import Statistics, load_reference
from edm2lite.evaluation.score import Score
from edm2lite.evaluation.shards import FeatureStore
from edm2lite.evaluation.sources import FileSource, Source
from edm2lite.files import cache_dir, digest
from edm2lite.sampling.reading import open_images


class Meter:
    """Measures sources of images as a configuration says.

    Args:
        cfg: Reference, metrics, detectors' files, where features are kept, device.

    Attributes:
        metrics: What is measured.
        reference: The reference.

    Raises:
        UserError: If the reference lacks what a metric needs, or was made by another detector; if a detector's weights are
            missing.
    """

    def __init__(self, cfg: MeasureConfig):
        self.cfg, self.reference = cfg, load_reference(cfg.ref)
        self.device = pick_device(cfg.device)
        self.root = Path(cfg.features) if cfg.features else cache_dir() / "features"
        self.metrics = cfg.parsed_metrics() or self._default_metrics()
        names = dict.fromkeys(self.reference.detector_of(metric) for metric in self.metrics)
        self.detectors = {name: load_detector(name, cfg.detector_files.get(name), self.device) for name in names}
        for detector in self.detectors.values():
            self.reference.check(detector)
        for metric in self.metrics:
            self._check(metric)
        self._factor, self._manifold = cache(self._make_factor), cache(self._make_manifold)
        self._with_features = cache(self._extract_features)
        self._labelled = any(map(needs_labels, self.metrics))
        self._store: FeatureStore | None = None

    def _default_metrics(self) -> tuple[Metric, ...]:
        names = list(self.reference.statistics)
        return tuple(Metric("fd", None if len(names) == 1 and names[0] != "inception" else name) for name in names)

    def _check(self, metric: Metric) -> None:
        """Raise a UserError if the reference or the detector lack what a metric needs, before anything is sampled."""
        name = self.reference.detector_of(metric)
        statistics, path = self.reference.statistics[name], self.reference.path
        if needs_features(metric) and statistics.features is None:
            if self.reference.images is None:
                raise UserError(
                    f"metric {metric.name} needs features, and {path} holds mean and covariance alone; leave it out, or make "
                    "the reference from its images: evaluate.py ref --features 10000"
                )
            images = self._reference_images(self.reference.images)
            check_shape(self.detectors[name], images.name, images.shape or ())
        if needs_labels(metric) and statistics.labels is None:
            raise UserError(f"metric {metric.name} needs labels, and {path} has none; make it of a dataset with labels")
        detector = self.detectors[name]
        if metric.kind == "is" and detector.logits(torch.zeros(1, detector.dim, device=self.device)) is None:
            raise UserError(
                f"metric {metric.name} needs a classifier, and {detector.title} is none; use is, or leave it out"
            )

    def store(self, source: Source) -> FeatureStore:
        """Where features of a source are kept. That of the last source is remembered, and with it which keys it holds where."""
        if self._store is None or self._store.identity != source.identity:
            self._store = FeatureStore(self.root, source.identity)
        return self._store

    def extract(self, source: Source, keys: Sequence[int], bar: tqdm | None = None) -> None:
        """Compute and keep the features of these keys that are missing; see `extract`."""
        extract(source, list(self.detectors.values()), self.store(source), keys, bar, self._labelled)

    def score(self, source: Source, keys: Sequence[int], metrics: Sequence[Metric] | None = None) -> dict[str, Score]:
        """The metrics of these images by name; their features must be there."""
        store, found = self.store(source), dict[Metric, Score]()
        for name, detector in self.detectors.items():
            mine = [m for m in metrics or self.metrics if self.reference.detector_of(m) == name]
            if mine:
                x, labels = store.read(detector, sorted(keys))
                found |= scores(
                    mine, x.to(self.device), self._statistics(name, mine), labels=labels, detector=detector,
                    reference=self._factor(name) if any(m.kind == "fd" for m in mine) else None,
                    manifold=self._manifold(name) if any(m.kind in NEIGHBOURS for m in mine) else None,
                )  # fmt: skip
        return {m.name: found[m] for m in metrics or self.metrics}

    def measure(
        self, source: Source, keys: Sequence[int], metrics: Sequence[Metric] | None = None, bar: tqdm | None = None
    ) -> dict[str, Score]:
        """Extract what is missing, score, and forget the features unless they are to be kept."""
        self.extract(source, keys, bar)
        scores = self.score(source, keys, metrics)
        self.finish(source, keys)
        return scores

    def finish(self, source: Source, keys: Sequence[int]) -> None:
        """Forget the features of these keys unless they are to be kept."""
        for detector in () if self.cfg.keep_features else self.detectors.values():
            self.store(source).remove(detector, keys)

    def protocol(self, metric: Metric) -> dict[str, Any]:
        """Everything besides the images that changes the value of a metric, for ledgers and manifests."""
        name = self.reference.detector_of(metric)
        labels = self.reference.statistics[name].labels if needs_labels(metric) else None
        return {
            "metric": Metric(metric.kind, name).name,
            "detector": self.detectors[name].identity,
            "reference": self.reference.fingerprint(name),
            **({} if labels is None else {"reference_labels": digest(labels.tolist())}),
            **protocol(metric),
        }

    def _make_factor(self, name: str) -> FrechetReference:
        return frechet_reference(self.reference.statistics[name], self.device)

    def _make_manifold(self, name: str) -> Manifold:
        return reference_manifold(self._with_features(name), self.device)

    def _statistics(self, name: str, metrics: Sequence[Metric]) -> Statistics:
        """Those of a detector, with features if a metric needs them."""
        return self._with_features(name) if any(map(needs_features, metrics)) else self.reference.statistics[name]

    def _extract_features(self, name: str) -> Statistics:
        """The statistics with features: of the images in the file, if it holds these instead (ADM's)."""
        statistics = self.reference.statistics[name]
        if statistics.features is not None or self.reference.images is None:
            return statistics
        source = self._reference_images(self.reference.images)
        store, detector = self.store(source), self.detectors[name]
        extract(source, [detector], store, source.keys)
        return replace(statistics, features=store.read(detector, source.keys).x.numpy())

    def _reference_images(self, path: str) -> FileSource:
        return FileSource(open_images(path), self.cfg.batch_size)
