"""Measures images against a reference: their features, kept on disk, then any number of metrics of them."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from edm2lite.config import MeasureConfig, Metric
from edm2lite.data.devices import pick_device
from edm2lite.errors import UserError
from edm2lite.evaluation.detectors.half import halved
from edm2lite.evaluation.detectors.load import check_shape, load_detector
from edm2lite.evaluation.extract import extract
from edm2lite.evaluation.metrics.frechet import FrechetReference
from edm2lite.evaluation.metrics.neighbours import Manifold
from edm2lite.evaluation.metrics.protocol import NEIGHBOURS, needs_features, needs_labels, protocol
from edm2lite.evaluation.metrics.scoring import frechet_reference, reference_manifold, scores
from edm2lite.evaluation.proof import IMAGES, Proof
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
        precision: What detectors compute the images' features in; those of the reference are always of fp32, see `Proof`.

    Attributes:
        metrics: What is measured.
        reference: The reference.

    Raises:
        UserError: If the reference lacks what a metric needs, or was made by another detector; if a detector's weights are
            missing.
    """

    def __init__(self, cfg: MeasureConfig, precision: str = "fp32"):
        self.cfg, self.reference = cfg, load_reference(cfg.ref)
        self.device = pick_device(cfg.device)
        self.root = Path(cfg.features) if cfg.features else cache_dir() / "features"
        self.metrics = cfg.parsed_metrics() or self._default_metrics()
        names = dict.fromkeys(self.reference.detector_of(metric) for metric in self.metrics)
        self._full = {name: load_detector(name, cfg.detector_files.get(name), self.device) for name in names}
        for detector in self._full.values():
            self.reference.check(detector)
        self._half = {} if precision == "fp32" else {name: halved(d, precision) for name, d in self._full.items()}
        self.detectors = self._half or self._full
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

    def extract(
        self, source: Source, keys: Sequence[int], bar: tqdm | None = None, run: Sequence[int] | None = None
    ) -> None:
        """Compute and keep the features of these keys that are missing; see `extract`.

        In half precision first those that the proof needs, in both, and the proof as soon as no other process lacks any.

        Args:
            source, keys, bar: See `extract`.
            run: All images of the run, if `keys` are the share of one process.

        Raises:
            UserError: Also if half precision changes the Frechet distance.
        """
        store, half = self.store(source), list(self.detectors.values())
        run = keys if run is None else run
        for name in self._half:
            if (proof := self._kept_proof(name, source, run)) is not None:
                proof.check()
        first = self._to_prove(source, run)
        if first:
            share = [key for key in keys if key in first]
            extract(source, [*self._full.values(), *half], store, share, bar, self._labelled)
            if not self.lacking(source, run, first):
                self.prove(source, run)
        extract(source, half, store, [key for key in keys if key not in first], bar, self._labelled)

    def _to_prove(self, source: Source, run: Sequence[int]) -> set[int]:
        """Images whose features are needed in both precisions; none, if there is a proof or nothing to be proven."""
        proven = all(self._kept_proof(name, source, run) for name in self._half)
        return set() if proven else set(run[:IMAGES])

    def lacking(self, source: Source, run: Sequence[int], keys: Iterable[int]) -> set[int]:
        """Those of some keys of a run of which features are missing that its scores need."""
        store, keys, both = self.store(source), list(keys), self._to_prove(source, run)
        lack = {key for detector in self.detectors.values() for key in store.missing(detector, keys)}
        first = [key for key in keys if key in both]
        return lack | {key for detector in self._full.values() for key in store.missing(detector, first)}

    def prove(self, source: Source, run: Sequence[int]) -> dict[str, Proof]:
        """That half precision leaves the Frechet distance of the run's first images what it is: a proof a detector, kept.

        Raises:
            UserError: If it changes it.
        """
        proofs = {
            name: self._kept_proof(name, source, run) or self._make_proof(name, source, run) for name in self._half
        }
        for proof in proofs.values():
            proof.check()
        return proofs

    def _make_proof(self, name: str, source: Source, run: Sequence[int]) -> Proof:
        store, first, half = self.store(source), sorted(run[:IMAGES]), self._half[name]
        features = [store.read(detector, first).x.to(self.device) for detector in (self._full[name], half)]
        fp32, other = (self._factor(name).distance_of(x) for x in features)
        proof = Proof(detector=half.title, precision=half.precision, images=len(first), fp32=fp32, half=other)
        store.note(self._proof_name(name, run), asdict(proof))
        return proof

    def _kept_proof(self, name: str, source: Source, run: Sequence[int]) -> Proof | None:
        """A proof for this detector and reference on the first images of the run."""
        kept = self.store(source).noted(self._proof_name(name, run))
        return None if kept is None else Proof(**kept)

    def _proof_name(self, name: str, run: Sequence[int]) -> str:
        about = [self._half[name].identity, self.reference.fingerprint(name), list(run[:IMAGES])]
        return f"proof-{digest(about)[:12]}"

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
        for detector in () if self.cfg.keep_features else (*self._half.values(), *self._full.values()):
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
        store, detector = self.store(source), self._full[name]
        extract(source, [detector], store, source.keys)
        return replace(statistics, features=store.read(detector, source.keys).x.numpy())

    def _reference_images(self, path: str) -> FileSource:
        return FileSource(open_images(path), self.cfg.batch_size)
