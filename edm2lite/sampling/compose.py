"""From networks and settings to the one denoiser that a solver sees.

The order, from the inside out: each network with its degradations; the guides (2024b, Eq. 6); truncation, which scales the
score of what main and guides make together; the classifier's gradient; the gradient of a function of the denoised image so far.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edm2lite.config import GuidanceConfig, GuideConfig, ModelRef, SamplerConfig
from edm2lite.errors import UserError
from edm2lite.guidance.autoguidance import Guided
from edm2lite.guidance.classifier import classifier_guided
from edm2lite.guidance.degrade import SigmaScaled, Unconditional, WithDropout, WithInputNoise
from edm2lite.guidance.gradient import gradient_guided
from edm2lite.guidance.truncation import truncated
from edm2lite.guidance.weights import Weight, weight_function
from edm2lite.guidance.wrapper import Denoise
from edm2lite.sampling.noise_levels import noise_levels
from edm2lite.sampling.seeded import SeededStreams
from edm2lite.sampling.solve import solve


@dataclass(frozen=True)
class Parts:
    """What is composed.

    Attributes:
        main: The main denoiser and its degradations.
        guides: The guides, each with its degradations, weight, interval and schedule.
        classifier: Noise-conditional classifier, if any.
        function: Function of the denoised image, if any.
    """

    main: tuple[Denoise, ModelRef]
    guides: Sequence[tuple[Denoise, GuideConfig]] = ()
    classifier: Callable[..., Tensor] | None = None
    function: Callable[..., Tensor] | None = None


def guide_name(index: int, count: int) -> str:
    """What a guide is called in manifests, and the name of its random streams: guide, or guide 1, guide 2 ..."""
    return "guide" if count == 1 else f"guide {index + 1}"


def compose(parts: Parts, guidance: GuidanceConfig, sampler: SamplerConfig, seeds: Sequence[int]) -> Denoise:
    """The guided denoiser for the samples of these seeds.

    Randomness of degradations is drawn from streams of the seeds, so a denoiser is good for one pass of a solver.
    """
    denoise = _degraded(*parts.main, "main", seeds)
    if parts.guides:
        names = [guide_name(i, len(parts.guides)) for i in range(len(parts.guides))]
        guides = [_degraded(guide, cfg, name, seeds) for (guide, cfg), name in zip(parts.guides, names, strict=True)]
        denoise = Guided(denoise, list(zip(guides, weights(parts.guides, sampler), strict=True)))
    denoise = truncated(denoise, guidance.truncation)
    if parts.classifier is not None:
        denoise = classifier_guided(denoise, parts.classifier, guidance.classifier.scale)
    if parts.function is not None:
        denoise = gradient_guided(denoise, parts.function, guidance.gradient.scale, guidance.gradient.through)
    return denoise


def weights(guides: Sequence[tuple[Any, GuideConfig]], sampler: SamplerConfig) -> list[Weight]:
    """Weight of each guide over the noise levels.

    Raises:
        UserError: If a guide would not be used at any noise level.
    """
    sigmas = noise_levels(sampler).tolist()[:-1]
    found = [weight_function(cfg, sigmas) for _, cfg in guides]
    for (_, cfg), weight in zip(guides, found, strict=True):
        if all(weight(sigma) == 1 for sigma in sigmas):
            raise UserError(
                f"the weight of guide {cfg.path} is 1 at every noise level ({sigmas[0]:g} ... {sigmas[-1]:g}); "
                f"change weight, schedule or interval ({cfg.interval and list(cfg.interval)}), or leave the guide out"
            )
    return found


def _degraded(denoise: Denoise, ref: ModelRef, name: str, seeds: Sequence[int]) -> Denoise:
    """A network as it is used: with its degradations."""
    if ref.dropout:
        denoise = WithDropout(denoise, ref.dropout, SeededStreams(seeds, purpose=f"{name} dropout").keys)
    if ref.unconditional:
        denoise = Unconditional(denoise)
    if ref.sigma_scale != 1:
        denoise = SigmaScaled(denoise, ref.sigma_scale, ref.sigma_scale_of)
    if ref.input_noise:
        denoise = WithInputNoise(
            denoise, ref.input_noise, SeededStreams(seeds, purpose=f"{name} input noise").randn_like
        )
    return denoise


def count_evaluations(parts: Parts, guidance: GuidanceConfig, sampler: SamplerConfig) -> dict[str, int]:
    """How often each network is evaluated for an image: the sampler is run once with networks that only count."""
    counts: Counter[str] = Counter()

    def denoiser(name: str) -> Denoise:
        def count(x: Tensor, sigma: Any, labels: Any = None, dropout: Any = None) -> Tensor:
            counts[name] += 1
            return x

        return count

    def score(name: str) -> Callable[..., Tensor]:
        def count(x: Tensor, *_: Any) -> Tensor:
            counts[name] += 1
            return x.flatten(1)[:, :1] if name == "classifier" else x.flatten(1).sum(1)

        return count

    stubs = Parts(
        main=(denoiser("main"), parts.main[1]),
        guides=[(denoiser(guide_name(i, len(parts.guides))), cfg) for i, (_, cfg) in enumerate(parts.guides)],
        classifier=parts.classifier and score("classifier"),
        function=parts.function and score("gradient"),
    )
    streams = SeededStreams([0])
    denoise = compose(stubs, guidance, sampler, [0])
    labels = torch.zeros(1, dtype=torch.int64)
    solve(sampler, denoise, streams.randn((1, 1, 1)), labels=labels, randn_like=streams.randn_like)
    return dict(counts)
