"""Measures images against a reference: their features, kept on disk, then any number of metrics of them."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from edm2lite.config import MeasureConfig, Metric
from edm2lite.data.devices import pick_device
from edm2lite.data.prepare.workspace import room_on_disk
from edm2lite.errors import UserError
from edm2lite.evaluation.detectors.detector import Detector
from edm2lite.evaluation.detectors.load import check_shape, load_detector
from edm2lite.evaluation.metrics.frechet import FrechetReference
from edm2lite.evaluation.metrics.neighbours import Manifold
from edm2lite.evaluation.metrics.protocol import NEIGHBOURS, needs_features, needs_labels, protocol
from edm2lite.evaluation.metrics.scoring import reference_manifold, scores
from edm2lite.evaluation.reference import Statistics, load_reference
from edm2lite.evaluation.score import Score
from edm2lite.evaluation.shards import FeatureStore, Writer
from edm2lite.evaluation.sources import Batch, FileSource, Source
from edm2lite.files import cache_dir
from edm2lite.sampling.reading import open_images


def extract(
    source: Source, detectors: Sequence[Detector], store: FeatureStore, keys: Sequence[int], bar: tqdm | None = None
) -> None:
    """Compute and keep what features of these keys are missing; each image is made or read once for all detectors.

    What was computed before an error or Ctrl-C is kept.

    Raises:
        UserError: If an image cannot be read, a detector does not take it, a feature is not finite, or the disk is full.
    """
    missing = {detector: set(store.missing(detector, keys)) for detector in detectors}
    wanted = [key for key in keys if any(key in lack for lack in missing.values())]
    if bar is not None:
        bar.update(len(keys) - len(wanted))
    if not wanted:
        return
    if source.shape is not None:
        for detector in detectors:
            check_shape(detector, source.name, source.shape)
    with room_on_disk(store.folder), ExitStack() as stack:
        writers = [stack.enter_context(Writer(store, d)) for d in detectors if missing[d]]
        for batch in source.batches(wanted):
            for writer in writers:
                writer.add(batch.keys, features_of(writer.detector, batch, source.batch_size), batch.labels)
            if bar is not None:
                bar.update(len(batch.keys))


def features_of(detector: Detector, batch: Batch, batch_size: int) -> torch.Tensor:
    """Features [B, D] of a batch, padded to the full size: a network's last bits can depend on the number of images."""
    count = len(batch.keys)
    pixels = torch.cat([batch.pixels, batch.pixels[-1:].expand(batch_size - count, -1, -1, -1)])
    features = detector(pixels)[:count]
    if not features.isfinite().all():
        bad = batch.keys[int((~features.isfinite().all(dim=1)).nonzero()[0])]
        raise UserError(
            f"{detector.title} makes features that are not finite of image {bad}; check the image and the weights"
        )
    return features


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

    def _default_metrics(self) -> tuple[Metric, ...]:
        names = list(self.reference.statistics)
        return tuple(Metric("fd", None if len(names) == 1 and names[0] != "inception" else name) for name in names)

    def _check(self, metric: Metric) -> None:
        """Raise a UserError if the reference or the detector lack what a metric needs, before anything is sampled."""
        name = self.reference.detector_of(metric)
        statistics, path = self.reference.statistics[name], self.reference.path
        if needs_features(metric) and statistics.features is None and self.reference.images is None:
            raise UserError(
                f"metric {metric.name} needs features, and {path} holds mean and covariance alone; leave it out, or make the "
                "reference from its images: evaluate.py ref --features 10000"
            )
        if needs_labels(metric) and statistics.labels is None:
            raise UserError(f"metric {metric.name} needs labels, and {path} has none; make it of a dataset with labels")
        detector = self.detectors[name]
        if metric.kind == "is" and detector.logits(torch.zeros(1, detector.dim, device=self.device)) is None:
            raise UserError(
                f"metric {metric.name} needs a classifier, and {detector.title} is none; use is, or leave it out"
            )

    def store(self, source: Source) -> FeatureStore:
        """Where features of a source are kept."""
        return FeatureStore(self.root, source.identity)

    def missing(self, source: Source, keys: Sequence[int]) -> list[int]:
        """Keys of which a feature is missing."""
        store = self.store(source)
        lacking = [set(store.missing(detector, keys)) for detector in self.detectors.values()]
        return [key for key in keys if any(key in lack for lack in lacking)]

    def extract(self, source: Source, keys: Sequence[int], bar: tqdm | None = None) -> None:
        """Compute and keep the features of these keys that are missing; see `extract`."""
        extract(source, list(self.detectors.values()), self.store(source), keys, bar)

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
        return {
            "metric": Metric(metric.kind, name).name,
            "detector": self.detectors[name].identity,
            "reference": self.reference.fingerprint(name),
            **protocol(metric),
        }

    def _make_factor(self, name: str) -> FrechetReference:
        statistics = self.reference.statistics[name]
        mu, sigma = (torch.from_numpy(x).to(self.device) for x in (statistics.mu, statistics.sigma))
        return FrechetReference(mu, sigma)

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
        source = FileSource(open_images(self.reference.images), self.cfg.batch_size)
        store, detector = self.store(source), self.detectors[name]
        extract(source, [detector], store, source.keys)
        return replace(statistics, features=store.read(detector, source.keys).x.numpy())
