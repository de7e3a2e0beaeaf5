"""A main model and its guide, loaded and combined."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edm2lite.config import SD_VAE, ModelRef, SamplerConfig
from edm2lite.data.devices import pick_device
from edm2lite.data.encoders import Encoder, make_encoder
from edm2lite.errors import UserError
from edm2lite.guidance.autoguidance import guided
from edm2lite.network.precision import compute_dtype
from edm2lite.sampling.generate import Samples, check_label, generate
from edm2lite.snapshots.load import LoadedModel, load_model


@dataclass(frozen=True)
class Pair:
    """What makes images: a main model, perhaps a guide, the weight.

    Attributes:
        main, guide: Models, on one device.
        weight: Guidance weight; 1: the guide is not used.
        vae: Hub name or folder of the VAE that decodes latents.
    """

    main: LoadedModel
    guide: LoadedModel | None
    weight: float
    vae: str = SD_VAE

    @property
    def denoise(self) -> Callable[..., Tensor]:
        """The guided denoiser."""
        return guided(self.main.denoiser, self.guide.denoiser if self.guide else None, self.weight)

    def check(self, label: int | None = None) -> None:
        """Raise a UserError if main and guide do not go together, or the main model has no such class."""
        _ = self.denoise  # `guided` compares the two
        check_label(label, self.main.info.label_dim)
        if self.guide is not None and self.guide.info.encoder != self.main.info.encoder:
            raise UserError(
                f"main and guide see images encoded differently ({self.main.info.encoder} and {self.guide.info.encoder}); "
                "a guide must be trained on the same data"
            )

    @property
    def encoder(self) -> Encoder:
        """Encoder of the main model's images."""
        return make_encoder(self.main.info.encoder, self.vae)

    def sample(
        self, seeds: Sequence[int], sampler: SamplerConfig, batch_size: int, label: int | None = None
    ) -> Iterator[Samples]:
        """Encoded images of the seeds, batch by batch; see `generate`."""
        info, device = self.main.info, next(self.main.denoiser.parameters()).device
        return generate(
            self.denoise, seeds, shape=(info.img_channels, info.img_resolution, info.img_resolution),
            label_dim=info.label_dim, sampler=sampler, batch_size=batch_size, label=label, device=device,
        )  # fmt: skip

    def describe(self) -> dict[str, Any]:
        """Who makes these images, for manifests and ledgers."""
        models = {"main": self.main, "guide": self.guide if self.weight != 1 else None}
        latents = {"vae": self.vae} if self.main.info.encoder["name"] == "vae" else {}
        described = {name: model and describe_model(model) for name, model in models.items()}
        return described | {"weight": self.weight} | latents


def load_pair(
    main: ModelRef, guide: ModelRef, weight: float, device: str, precision: str = "fp32", vae: str = SD_VAE
) -> Pair:
    """Load the models of a pair; a guide with weight 1 is not loaded."""
    target = pick_device(device)
    return Pair(
        load_ref(main, target, precision),
        load_ref(guide, target, precision) if guide.path is not None and weight != 1 else None,
        weight,
        vae,
    )


def load_ref(ref: ModelRef, device: torch.device, precision: str = "fp32") -> LoadedModel:
    """Load the model that a reference names, to compute in `precision`; in channels_last, where convolutions are fastest."""
    assert ref.path is not None
    model = load_model(ref.path, nimg=ref.nimg, ema=ref.ema, device=device)
    model.denoiser.to(memory_format=torch.channels_last)
    model.denoiser.compute_dtype = compute_dtype(precision)
    return model


def describe_model(model: LoadedModel) -> dict[str, Any]:
    """Identity of a model: its file, the hash of its weights, training length, EMA length, licence."""
    info = model.info
    return {
        "file": str(model.path),
        "weights_sha256": model.fingerprint,
        "nimg": None if info.nimg is None else int(info.nimg),
        "ema": info.sigma_rel,
        "dataset": info.dataset,
        "licence": info.licence,
        "parameters": sum(p.numel() for p in model.denoiser.parameters()),
    }
