"""Points of a guided pair: the package's composition of denoisers and its solvers, on the 2D example."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from edm2lite.config import GuidanceConfig, GuideConfig, ModelRef, SamplerConfig
from edm2lite.errors import UserError
from edm2lite.guidance.wrapper import Denoise
from edm2lite.sampling.compose import Parts, compose
from edm2lite.sampling.seeded import SeededStreams
from edm2lite.sampling.solve import solve
from edm2lite.toy2d.models import LABELS, exact_classifier, load

SHAPE = (2, 1, 1)  # of a point as an image


class Guided2d:
    """A main model with its guides, ready to sample points.

    Args:
        main: The main model.
        guides: Its guides, each with weight, interval and schedule.
        guidance: Truncation and classifier guidance; the classifier's path is "exact".
        sampler: Solver and noise levels.
        label: Class that a classifier leads to, A or B.
        dtype: Precision of networks and solver.

    Raises:
        UserError: If there is no such model, or the guidance asks for what the 2D example has not.
    """

    def __init__(
        self, main: ModelRef, guides: Sequence[GuideConfig] = (), guidance: GuidanceConfig | None = None,
        sampler: SamplerConfig | None = None, label: str = "A", dtype: torch.dtype = torch.float32,
    ):  # fmt: skip
        self.guidance, self.sampler = guidance or GuidanceConfig(), sampler or SamplerConfig(sigma_max=5.0)
        self.label, self.dtype = LABELS.index(label), dtype
        path = self.guidance.classifier.path
        if path not in (None, "exact"):
            raise UserError(f"guidance.classifier.path is {path}; the 2D example has one classifier: exact")
        if (function := self.guidance.gradient.function) is not None:
            raise UserError(f"guidance.gradient.function is {function}; the 2D example has none, leave it out")
        self.parts = Parts(
            main=(load(main, dtype), main),
            guides=[(load(guide, dtype), guide) for guide in guides],
            classifier=None if path is None else exact_classifier,
        )

    def __call__(
        self, seeds: Sequence[int], noise: Tensor | None = None, record: Callable[[float, Tensor], None] | None = None
    ) -> Tensor:
        """Points [N, 2] of seeds: each depends on its seed alone.

        Args:
            seeds: One a point.
            noise: Unit noise [N, 2] to start from; default: that of the seeds.
            record: Called with sigma and x [N, 2] at every evaluation of the guided denoiser.
        """
        streams = SeededStreams(seeds)
        own = streams.randn(SHAPE)  # drawn in any case, so that churn is the same
        start = (own if noise is None else noise.reshape(own.shape)).to(self.dtype)
        denoise = _recorded(compose(self.parts, self.guidance, self.sampler, seeds), record)
        labels = torch.full((len(start),), self.label)
        return solve(
            self.sampler, denoise, start, labels=labels, randn_like=streams.randn_like, dtype=self.dtype
        ).flatten(1)


def _recorded(denoise: Denoise, record: Callable[[float, Tensor], None] | None) -> Denoise:
    if record is None:
        return denoise

    def recorded(x: Tensor, sigma: Tensor | float, labels: Tensor | None = None) -> Tensor:
        record(float(sigma), x.flatten(1))
        return denoise(x, sigma, labels)

    return recorded
