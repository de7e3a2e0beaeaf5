"""What a training shows of itself on the way: images of fixed seeds from its EMA, guided if asked for, and metrics of them."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from edm2lite.config import GuidanceConfig, MeasureConfig, TrainConfig, plain
from edm2lite.data.encoders import RGBEncoder, VAEEncoder
from edm2lite.data.sheets import sheet
from edm2lite.evaluation.detectors.load import check_shape
from edm2lite.evaluation.extract import features_of
from edm2lite.evaluation.meter import Meter
from edm2lite.evaluation.sources import Batch
from edm2lite.ranks import Rank
from edm2lite.sampling.compose import weights
from edm2lite.sampling.describe import describe_model, essence
from edm2lite.sampling.generate import Samples
from edm2lite.sampling.pair import Pair, load_ref
from edm2lite.snapshots.files import SnapshotInfo
from edm2lite.snapshots.load import LoadedModel

_BY_CONTENT = ("ref", "metrics", "detector_files", "guide", "models")  # settings whose content counts, not the name


class Part(NamedTuple):
    """What is known of some images: their seeds, features [n, D] by detector, classes, and pixels of those on the sheet."""

    seeds: list[int]
    features: dict[str, Tensor]
    labels: Tensor | None
    pixels: dict[int, np.ndarray]


class PairWatcher:
    """Samples a model that is in training, with a guide, and measures the images; a `Watcher` of edm2lite.training.watch.

    Between two looks guide, detectors and VAE lie in the CPU's memory, a copy a rank, and the device has all of its own for
    training. In a look they are on the device, beside the EMA and whatever the training holds there.

    Args:
        cfg: The run.
    """

    def __init__(self, cfg: TrainConfig):
        self.cfg, self._precision, self._run_dir = cfg.watch, cfg.training.precision, cfg.run_dir
        self._seeds = cfg.watch.parsed_seeds()
        self._sheet = self._seeds[: cfg.watch.sheet]

    def load(self, info: SnapshotInfo, device: torch.device) -> None:
        """Load guide, detectors and VAE, and check that they go with models of `info`.

        Raises:
            UserError: If something is missing, or does not go together.
        """
        self._device = device
        cpu = torch.device("cpu")
        self._guides = [(load_ref(cfg, cpu, self._precision, self.cfg.models), cfg) for cfg in self.cfg.guides()]
        self._meter = None if self.cfg.ref is None else Meter(self._measure_config(self.cfg.ref, device))
        with torch.device("meta"):
            net = info.build()
        pair = self._pair(LoadedModel(net, info, Path(self._run_dir)))  # type: ignore[arg-type]
        pair.check()
        weights(pair.guides, self.cfg.sampler)
        self._encoder = pair.encoder
        if self._meter is not None and isinstance(self._encoder, RGBEncoder):
            for detector in self._meter.detectors.values():
                check_shape(detector, self._run_dir, (info.img_channels, info.img_resolution, info.img_resolution))
        self._move(cpu)

    def _measure_config(self, ref: str, device: torch.device) -> MeasureConfig:
        return MeasureConfig(
            ref=ref, metrics=self.cfg.metrics, detector_files=self.cfg.detector_files, device=str(device),
            batch_size=self.cfg.batch_size, features=str(Path(self._run_dir) / "watch" / "features"),
        )  # fmt: skip

    def _pair(self, model: LoadedModel) -> Pair:
        return Pair(model, guides=tuple(self._guides), guidance=GuidanceConfig.of(self.cfg.guidance), vae=self.cfg.vae)

    def describe(self) -> dict[str, Any]:
        """Everything but the model that decides the numbers, as plain data."""
        settings = {k: v for k, v in plain(asdict(self.cfg)).items() if k not in ("every_nimg", "ema", *_BY_CONTENT)}
        metrics = [] if self._meter is None else [self._meter.protocol(metric) for metric in self._meter.metrics]
        guides = [essence(describe_model(model, cfg)) for model, cfg in self._guides]
        return settings | {
            "metrics": metrics,
            "guides": guides,
            "precision": self._precision,
            "device": self._device.type,
        }

    def look(self, model: LoadedModel, rank: Rank) -> Iterator[Part]:
        """Images of every `rank.count`-th seed from the `rank.index`-th on, a batch at a time."""
        share = self._seeds[rank.index :: rank.count]
        with self._on_device():
            for samples in self._pair(model).sample(share, self.cfg.sampler, self.cfg.batch_size):
                yield self._part(samples)

    def _part(self, samples: Samples) -> Part:
        batch, features = Batch(samples.seeds, samples.pixels, samples.labels), {}
        if self._meter is not None:
            for name, detector in self._meter.detectors.items():
                features[name] = features_of(detector, batch, self.cfg.batch_size).cpu()
        pixels = zip(samples.seeds, samples.pixels.cpu().numpy(), strict=True)
        shown = {seed: image.copy() for seed, image in pixels if seed in self._sheet}
        return Part(samples.seeds, features, None if samples.labels is None else samples.labels.cpu(), shown)

    def report(self, parts: Sequence[Part]) -> tuple[dict[str, float], np.ndarray | None]:
        """Metrics with their standard errors by name, and the sheet, uint8 [C, H, W], from what all ranks made."""
        images = {seed: image for part in parts for seed, image in part.pixels.items()}
        picture = sheet([images[seed] for seed in self._sheet]) if self._sheet else None
        numbers: dict[str, float] = {} if self._meter is None else self._measure(self._meter, parts)
        return {"N": len(self._seeds)} | numbers, picture

    def _measure(self, meter: Meter, parts: Sequence[Part]) -> dict[str, float]:
        """The metrics; the meter reads features from files, which are gone after it."""
        source = _Made(self._seeds, self.cfg.batch_size)
        try:
            for name, detector in meter.detectors.items():
                for part in parts:
                    meter.store(source).add(detector, part.seeds, part.features[name], part.labels)
            with self._on_device():
                scores = meter.score(source, self._seeds)
        finally:
            shutil.rmtree(meter.root, ignore_errors=True)
        numbers: dict[str, float] = {}
        for name, score in scores.items():
            numbers |= {name: score.value} if score.se is None else {name: score.value, f"{name}_se": score.se}
        return numbers

    @contextmanager
    def _on_device(self) -> Iterator[None]:
        try:
            self._move(self._device)
            yield
        finally:
            self._move(torch.device("cpu"))

    def _move(self, device: torch.device) -> None:
        """Guide, detectors and VAE to a device."""
        for guide, _ in self._guides:
            guide.denoiser.to(device)
        for detector in self._meter.detectors.values() if self._meter is not None else ():
            detector.to(device)
        if isinstance(self._encoder, VAEEncoder):
            self._encoder.load(device)


class _Made:
    """Images that were made and measured, as a `Source` to a meter that needs none made."""

    name, shape = "the run", None

    def __init__(self, seeds: Sequence[int], batch_size: int):
        self.keys, self.batch_size = seeds, batch_size
        self.identity: dict[str, Any] = {"watch": "of one look"}

    def batches(self, keys: Sequence[int]) -> Iterator[Batch]:
        raise NotImplementedError
