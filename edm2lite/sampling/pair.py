"""A main model with its guides, ready to sample."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from edm2lite.config import (
    SD_VAE,
    GuidanceConfig,
    GuideConfig,
    MetricsConfig,
    ModelRef,
    SampleConfig,
    SamplerConfig,
    all_guides,
    plain,
)
from edm2lite.data.devices import pick_device
from edm2lite.data.encoders import Encoder, make_encoder
from edm2lite.errors import UserError
from edm2lite.guidance.autoguidance import check_together
from edm2lite.guidance.gradient import make_function
from edm2lite.guidance.wrapper import Denoise, Wrapper
from edm2lite.network.classifier import Network
from edm2lite.network.denoiser import Denoiser
from edm2lite.network.precision import compute_dtype
from edm2lite.sampling.compose import Parts, compose, count_evaluations, guide_name, weights
from edm2lite.sampling.describe import describe_model, essence
from edm2lite.sampling.generate import Job, Samples, check_label, generate
from edm2lite.snapshots.classifiers import LoadedClassifier, load_classifier
from edm2lite.snapshots.fetch import resolve
from edm2lite.snapshots.files import SnapshotInfo, fingerprint
from edm2lite.snapshots.load import LoadedModel, load_model
from edm2lite.snapshots.posthoc import reconstruct_for

Copies = WeakKeyDictionary[Denoiser, Denoiser]
Record = Callable[[float, Tensor], None]  # noise level, denoised images [B, C, H, W]


@dataclass(frozen=True)
class Pair:
    """What makes images: a main model, its guides, and how they are combined.

    Attributes:
        main: The main model.
        main_ref: Its name and its degradations.
        guides: The guides, each with its degradations and its weight.
        guidance: Truncation, classifier guidance, gradient guidance; weights are those of the guides.
        classifier: Noise-conditional classifier, if it guides.
        vae: Hub name or folder of the VAE that decodes latents.
        compile: Compile the networks; see `Denoiser.optimize`.
        copies: Networks made ready for sampling, by the network they are of; pairs of the same networks share them.
    """

    main: LoadedModel
    main_ref: ModelRef = ModelRef()
    guides: tuple[tuple[LoadedModel, GuideConfig], ...] = ()
    guidance: GuidanceConfig = GuidanceConfig()
    classifier: LoadedClassifier | None = None
    vae: str = SD_VAE
    compile: bool = False
    copies: Copies = field(default_factory=WeakKeyDictionary, compare=False, repr=False)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.main.denoiser.parameters()).device

    @property
    def encoder(self) -> Encoder:
        """Encoder of the main model's images."""
        return make_encoder(self.main.info.encoder, self.vae)

    @property
    def label_dim(self) -> int:
        """Classes that samples are drawn from: those of the main model, or of the classifier that guides it."""
        return self.main.info.label_dim or (self.classifier.info.label_dim if self.classifier else 0)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an encoded image, (C, H, W)."""
        info = self.main.info
        return info.img_channels, info.img_resolution, info.img_resolution

    def check(self, label: int | None = None, labels: str = "uniform") -> None:
        """Raise a UserError if the networks do not go together, there is no such class, or nothing would see classes asked for.

        Args:
            label: One class for all images.
            labels: Otherwise, how classes are chosen; see `Job`.
        """
        check_label(label, self.label_dim)
        for what, asked in ((f"label is {label}", label is not None), (f"labels is {labels}", labels != "uniform")):
            if asked and not (self.label_dim and self._sees_labels):
                raise UserError(
                    f"{what}, but main is unconditional and nothing else sees labels; leave it out, or use a conditional main"
                )
        for guide, _ in self.guides:
            self._check_together(guide.denoiser, guide.info, "guide")
        if self.classifier is not None:
            self._check_together(self.classifier.classifier, self.classifier.info, "classifier")
            for guide, _ in self.guides:  # it gets the classifier's classes if main has none
                check_together(guide.denoiser, self.classifier.classifier, "classifier", of="guide")

    @property
    def _sees_labels(self) -> bool:
        models = ((self.main, self.main_ref), *self.guides)
        conditional = any(model.info.label_dim and not ref.unconditional for model, ref in models)
        return conditional or self.classifier is not None or self.guidance.gradient.function is not None

    def _check_together(self, network: Network, info: SnapshotInfo, what: str) -> None:
        """Raise a UserError unless a network goes with the main model."""
        check_together(self.main.denoiser, network, what)
        if info.encoder != self.main.info.encoder:
            raise UserError(
                f"main and {what} see images encoded differently ({self.main.info.encoder} and {info.encoder}); "
                f"a {what} must be trained on the same data"
            )

    def denoiser(self, seeds: Sequence[int], sampler: SamplerConfig) -> Denoise:
        """The guided denoiser for the samples of these seeds, good for one pass of a solver."""
        return compose(self._parts, self.guidance, sampler, seeds)

    def sample(
        self, seeds: Sequence[int], sampler: SamplerConfig, batch_size: int, label: int | None = None,
        labels: str = "uniform", record: Record | None = None, on_halved: Callable[[int], None] = lambda batch_size: None,
    ) -> Iterator[Samples]:  # fmt: skip
        """Images of the seeds, batch by batch; see `generate`.

        Args:
            seeds, sampler, batch_size, label, labels, on_halved: See `generate` and its `Job`.
            record: Called with noise level and result of every evaluation of the guided denoiser.
        """
        weights(self.guides, sampler)  # refuses a guide without effect before anything is computed

        def denoiser(seeds: Sequence[int]) -> Denoise:
            denoise = self.denoiser(seeds, sampler)
            return denoise if record is None else _Recorded(denoise, record)

        job = Job(
            denoiser=denoiser, shape=self.shape,
            label_dim=self.label_dim, sampler=sampler, batch_size=batch_size, decode=self.encoder.decode,
            label=label, labels=labels, device=self.device,
        )  # fmt: skip
        return generate(job, seeds, on_halved)

    def evaluations(self, sampler: SamplerConfig) -> dict[str, int]:
        """How often each network is evaluated for an image."""
        return count_evaluations(self._parts, self.guidance, sampler)

    def with_weights(self, weight: float) -> "Pair":
        """The same with all guides at one weight; 1: without guides."""
        if weight == 1:
            return replace(self, guides=())
        guides = [(model, replace(cfg, weight=weight)) for model, cfg in self.guides]
        return replace(self, guides=tuple(guides))

    def alone(self) -> "Pair":
        """The main model without any guidance."""
        return Pair(self.main, self.main_ref, vae=self.vae, compile=self.compile, copies=self.copies)

    def guide_alone(self) -> "Pair":
        """The first guide as if it were the main model."""
        model, cfg = self.guides[0]
        return Pair(model, cfg, vae=self.vae, compile=self.compile, copies=self.copies)

    def describe(self) -> dict[str, Any]:
        """Who makes these images, for manifests and ledgers: everything about the networks that changes a value."""
        described: dict[str, Any] = {"main": describe_model(self.main, self.main_ref)}
        for i, (model, cfg) in enumerate(self.guides):
            described[guide_name(i, len(self.guides))] = describe_model(model, cfg) | {
                "weight": cfg.weight,
                "interval": cfg.interval and plain(cfg.interval),
                "schedule": plain(vars(cfg.schedule)),
            }
        if self.guidance.truncation != 1:
            described["truncation"] = self.guidance.truncation
        if self.classifier is not None:
            described["classifier"] = describe_model(self.classifier) | {"scale": self.guidance.classifier.scale}
        if self.guidance.gradient.scale:
            described["gradient"] = plain(vars(self.guidance.gradient))
            if self._function_sha256 is not None:
                described["gradient"] |= {"weights_sha256": self._function_sha256}
        if self.main.info.encoder["name"] == "vae":
            described["vae"] = self.vae
        if self.compile:
            described["compiled"] = True
        return described

    def identity(self) -> dict[str, Any]:
        """The `essence` of everything in `describe`: equal for two pairs that make the same images."""
        return {name: essence(part) for name, part in self.describe().items()}

    @cached_property
    def _function_sha256(self) -> str | None:
        """Hash of the weights of the function that guides, if it has any."""
        module = getattr(self._parts.function, "module", None)
        return fingerprint(module) if isinstance(module, nn.Module) else None

    def _ready(self, model: LoadedModel) -> Denoiser:
        """A network made ready for sampling."""
        if model.denoiser not in self.copies:
            self.copies[model.denoiser] = model.denoiser.optimize(compile=self.compile)
        return self.copies[model.denoiser]

    @cached_property
    def _parts(self) -> Parts:
        gradient = self.guidance.gradient
        return Parts(
            main=(self._ready(self.main), self.main_ref),
            guides=[(self._ready(guide), cfg) for guide, cfg in self.guides],
            classifier=self.classifier.classifier if self.classifier else None,
            function=make_function(gradient, self.encoder.unit, self.device) if gradient.scale else None,
        )


class _Recorded(Wrapper):
    """A denoiser that shows what it does."""

    def __init__(self, inner: Denoise, record: Record):
        super().__init__(inner)
        self.record = record

    def __call__(self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None) -> Tensor:
        denoised = self.inner(x, sigma, labels)
        self.record(float(sigma), denoised)
        return denoised


def load_pair(
    main: ModelRef, guide: ModelRef, guidance: GuidanceConfig, *, device: str, precision: str = "fp32",
    vae: str = SD_VAE, models: str | None = None, compile: bool = False,
) -> Pair:  # fmt: skip
    """Load the models of a pair.

    Args:
        main, guide, guidance: As configured; see `all_guides` for how guides are named.
        device: cpu, cuda, cuda:1 or auto.
        precision: Of the UNets' activations.
        vae: Hub name or folder of the VAE that decodes latents.
        models: Folder of published models.
        compile: Compile the networks.
    """
    target, classifier = pick_device(device), guidance.classifier
    guides = all_guides(guide, guidance)
    reconstruct_for(resolve(ref, models) for ref in (main, *guides, classifier.model))
    return Pair(
        load_ref(main, target, precision, models),
        main,
        tuple((load_ref(cfg, target, precision, models), cfg) for cfg in guides),
        guidance,
        load_classifier(resolve(classifier.model, models), target) if classifier.path is not None else None,
        vae,
        compile,
    )


def load_ref(ref: ModelRef, device: torch.device, precision: str = "fp32", models: str | None = None) -> LoadedModel:
    """Load the model that a reference names, to compute in `precision`; in channels_last, where convolutions are fastest."""
    ref = resolve(ref, models)
    assert ref.path is not None
    model = load_model(ref.path, nimg=ref.nimg, ema=ref.ema, device=device)
    model.denoiser.to(memory_format=torch.channels_last)
    model.denoiser.compute_dtype = compute_dtype(precision)
    return model


def configured_pair(cfg: SampleConfig | MetricsConfig) -> Pair:
    """The pair that a command names, with its precision, VAE and whether it is compiled; errors as of `load_pair`."""
    return load_pair(
        cfg.main, cfg.guide, cfg.guidance, device=cfg.device, precision=cfg.precision, vae=cfg.vae, models=cfg.models,
        compile=cfg.compile,
    )  # fmt: skip
