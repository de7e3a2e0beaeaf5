"""The models of benchmarks/solvers.py: what they start from, how they denoise, how far samples are from the data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from edm2lite.config import GuidanceConfig, GuideConfig, MeasureConfig, ModelRef, Nimg, SamplerConfig
from edm2lite.evaluation.meter import Meter
from edm2lite.evaluation.metrics.frechet import FrechetReference
from edm2lite.guidance.wrapper import Denoise
from edm2lite.sampling.compose import compose
from edm2lite.sampling.pair import Pair, load_pair
from edm2lite.toy2d.divergence import entropy
from edm2lite.toy2d.points import SHAPE, Guided2d
from edm2lite.toy2d.yardstick import Yardstick

DIGITS = ModelRef(path="runs/demo/digits-main", ema=0.1)
EARLIER = ModelRef(path="runs/demo/digits-main", nimg=Nimg(75 * 1024), ema=0.1)


@dataclass(frozen=True, kw_only=True)
class Digits:
    """The digits' main model, perhaps guided by itself at T/2; measured by the Frechet distance in the digits' detector."""

    title: str
    weight: float = 1.0
    interval: tuple[float, float] | None = None
    metrics: tuple[str, ...] = ("fd",)
    sigma_max: float = 80.0
    error_seeds: int = 64
    block: int = 250
    batch: int = 250

    @cached_property
    def pair(self) -> Pair:
        guide = EARLIER if self.weight != 1 else ModelRef()
        guidance = GuidanceConfig(weight=self.weight, interval=self.interval) if self.weight != 1 else GuidanceConfig()
        return load_pair(DIGITS, guide, guidance, device="cpu")

    @property
    def shape(self) -> tuple[int, ...]:
        return self.pair.shape

    def identity(self) -> dict[str, Any]:
        return {"pair": self.pair.identity(), "batch": self.batch}

    def denoiser(self, seeds: Sequence[int], sampler: SamplerConfig) -> Denoise:
        return self.pair.denoiser(seeds, sampler)

    def measure(self, images: Tensor) -> dict[str, float]:
        return {"fd": self._distance(self.pair.encoder.decode(images))}

    @cached_property
    def _distance(self) -> Callable[[Tensor], float]:
        meter = Meter(MeasureConfig(ref="runs/demo/ref-digits.npz", device="cpu"))
        (detector,) = meter.detectors.values()
        statistics = meter.reference.statistics[detector.name]
        reference = FrechetReference(statistics.mu, statistics.sigma)
        return torch.no_grad()(lambda pixels: reference.distance_of(detector(pixels)))


@dataclass(frozen=True, kw_only=True)
class Points:
    """A model of the 2D example; measured against the exact distribution of class A."""

    title: str
    main: ModelRef
    guides: tuple[GuideConfig, ...] = ()
    metrics: tuple[str, ...] = ("fd", "energy", "kl")
    sigma_max: float = 5.0
    error_seeds: int = 128
    block: int = 1024
    batch: int = 1024

    shape = SHAPE

    @cached_property
    def parts(self) -> Any:
        return Guided2d(self.main, self.guides, dtype=torch.float64).parts

    def identity(self) -> dict[str, Any]:
        return {"main": vars(self.main), "guides": [repr(guide) for guide in self.guides]}

    def denoiser(self, seeds: Sequence[int], sampler: SamplerConfig) -> Denoise:
        return compose(self.parts, GuidanceConfig(), sampler, seeds)

    def measure(self, images: Tensor) -> dict[str, float]:
        points, yardstick = images.flatten(1), self._yardstick
        logp = float(yardstick.logp(points).mean())
        return {
            "fd": self._moments.distance_of(points),
            "energy": yardstick._energy(points),
            "kl": -entropy(points) - logp,
        }

    @cached_property
    def _yardstick(self) -> Yardstick:
        return Yardstick("A")

    @cached_property
    def _moments(self) -> FrechetReference:
        """Exact mean and covariance of the mixture at the lowest noise level."""
        truth, w = self._yardstick.truth, self._yardstick.truth.weights
        mean = w @ truth.means
        gap = truth.means - mean
        within = (w[:, None, None] * truth.covariances).sum(dim=0) + self._yardstick.sigma**2 * torch.eye(2)
        return FrechetReference(mean, within + (w[:, None] * gap).T @ gap)


EXACT = ModelRef(path="exact:A")
MODELS: dict[str, Digits | Points] = {
    "digits-guided": Digits(title="digits, guided by itself at T/2, w = 2.5", weight=2.5),
    "digits": Digits(title="digits, unguided", error_seeds=32),
    "digits-interval": Digits(
        title="digits, guided in (0.1, 2], w = 2.5", weight=2.5, interval=(0.1, 2.0)
    ),
    "2d-exact": Points(title="2D, exact model, unguided", main=EXACT),
    "2d-autoguidance": Points(
        title="2D, trained models, autoguidance w = 2", main=ModelRef(path="runs/toy2d/main", ema=0.01),
        guides=(GuideConfig(path="runs/toy2d/guide", ema=0.01, weight=2.0),),
    ),
    "2d-exact-cfg": Points(
        title="2D, exact models, CFG w = 2", main=EXACT, guides=(GuideConfig(path="exact:AB", weight=2.0),)
    ),
}  # fmt: skip
