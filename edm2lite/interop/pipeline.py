"""Main model, guide and solver as a pipeline of diffusers."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from torch import Tensor

from edm2lite.config import ScheduleConfig, WeightConfig, check_choice
from edm2lite.data.encoders import make_encoder
from edm2lite.errors import UserError
from edm2lite.files import write_json, write_text
from edm2lite.guidance.autoguidance import guided
from edm2lite.guidance.weights import weight_function
from edm2lite.interop.scheduler import EDMHeunScheduler
from edm2lite.interop.unet import EDM2UNet
from edm2lite.sampling.generate import check_label
from edm2lite.sampling.seeded import seeded_noise

# What diffusers runs for DiffusionPipeline.from_pretrained(folder, trust_remote_code=True), which knows only its own pipelines.
_SHIM = '''"""Lets diffusers find the pipeline: pip install edm2lite."""

from edm2lite.interop.pipeline import EDM2Pipeline

__all__ = ["EDM2Pipeline"]
'''
Generators = torch.Generator | Sequence[torch.Generator]


class EDM2Pipeline(DiffusionPipeline):
    """Images from an EDM2 model, guided by another.

    Made by `edm2lite snapshot export`; loaded by `EDM2Pipeline.from_pretrained(folder)`, or with edm2lite installed by
    `DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)`.

    Args:
        unet: The main model.
        scheduler: The solver.
        guide: A worse version of the main model.
        vae: Decodes latents, where the models make latents.
        guidance: How the guide is used unless a call says otherwise: the fields of `edm2lite.config.WeightConfig`.
        encoder: Of the models' images: see `edm2lite.data.encoders.make_encoder`.
    """

    unet: EDM2UNet
    scheduler: EDMHeunScheduler
    guide: EDM2UNet | None
    vae: Any
    model_cpu_offload_seq = "guide->unet->vae"
    _optional_components = ["guide", "vae"]  # noqa: RUF012 - diffusers' own name and type

    def __init__(
        self,
        unet: EDM2UNet,
        scheduler: EDMHeunScheduler,
        guide: EDM2UNet | None = None,
        vae: AutoencoderKL | None = None,
        guidance: dict[str, Any] | None = None,
        encoder: dict[str, Any] | None = None,
    ):
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler, guide=guide, vae=vae)
        self.register_to_config(guidance=guidance or {}, encoder=encoder or {"name": "rgb"})

    @torch.no_grad()
    def __call__(
        self,
        class_labels: int | Sequence[int] | Tensor | None = None,
        num_inference_steps: int = 32,
        guidance_weight: float | None = None,
        seeds: Sequence[int] | None = None,
        generator: Generators | None = None,
        batch_size: int | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple[Any]:
        """Make images.

        Args:
            class_labels: A class for each image, or one for all; None: drawn uniformly, by the seed of each image.
            num_inference_steps: Noise levels; the networks are evaluated 2 num_inference_steps - 1 times.
            guidance_weight: w in D_guide + w (D_main - D_guide), instead of the pipeline's own (its interval and its schedule's
                shape stay); 1: without the guide.
            seeds: One for each image: noise and class are then those of `sample.py` with this seed. Excludes `generator`.
            generator: Source of randomness: one for each image (then like seeds), or one for all.
            batch_size: Number of images, where neither seeds nor generators nor labels say it.
            output_type: "pil"; "np": float [B, H, W, C] in 0 ... 1; "pt": float [B, C, H, W]; or "latent": what the network
                makes, float32 [B, C, H, W].
            return_dict: Return an `ImagePipelineOutput`, not a tuple.

        Raises:
            UserError: For a weight without a guide, a class that does not exist, or numbers of images that differ.
        """
        check_choice("output_type", output_type, ("pil", "np", "pt", "latent"))
        noise, labels = self._draw(class_labels, seeds, generator, batch_size)
        self.scheduler.set_timesteps(num_inference_steps)
        denoise = self._denoiser(guidance_weight)
        x = noise * self.scheduler.init_noise_sigma
        for sigma in self.progress_bar(self.scheduler.timesteps):
            x = self.scheduler.step(denoise(x, sigma, labels), sigma, x, return_dict=False)[0]
        images = x if output_type == "latent" else self._decode(x, output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def save_pretrained(self, save_directory: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        """Write a folder; see diffusers. Plain `DiffusionPipeline` can load it, too."""
        super().save_pretrained(save_directory, *args, **kwargs)
        folder = Path(save_directory)
        write_text(folder / "pipeline.py", _SHIM)
        index = dict(self.load_config(folder))
        write_json(folder / self.config_name, index | {"_class_name": ["pipeline", type(self).__name__]})

    @classmethod
    def _dict_from_json_file(cls, json_file: str | os.PathLike) -> dict[str, Any]:
        """Whoever loads by this class needs no code from the folder, so it is not to be asked to trust any."""
        config: dict[str, Any] = super()._dict_from_json_file(json_file)
        if isinstance(config.get("_class_name"), list):
            config["_class_name"] = config["_class_name"][1]
        return config

    def weights(self, guidance_weight: float | None = None) -> WeightConfig:
        """How the guide is used: as registered, or with another weight."""
        fields = dict(self.config.guidance)
        schedule = dict(fields.get("schedule") or {})
        table, interval = schedule.pop("table", None), fields.get("interval")
        cfg = WeightConfig(
            weight=fields.get("weight"),
            interval=None if interval is None else (_number(interval[0]), _number(interval[1])),
            schedule=ScheduleConfig(**schedule, table=None if table is None else tuple((at, w) for at, w in table)),
        )
        if guidance_weight is None:
            return cfg
        return replace(cfg, weight=guidance_weight, schedule=replace(cfg.schedule, table=None))

    def _denoiser(self, guidance_weight: float | None) -> Callable[..., Tensor]:
        """The guided denoiser; the networks are called as modules, for hooks that move them between devices."""
        cfg = self.weights(guidance_weight)
        if cfg.active and self.guide is None:
            raise UserError(
                f"guidance weight is {cfg.weight} but the pipeline has no guide; leave it out, or export one"
            )
        weight = weight_function(cfg, self.scheduler.levels) if cfg.active else 1
        return guided(_as_denoiser(self.unet), self.guide and _as_denoiser(self.guide), weight)

    def _draw(
        self, class_labels: int | Sequence[int] | Tensor | None, seeds: Sequence[int] | None, generator: Generators | None,
        batch_size: int | None,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """Noise [B, C, H, W] and labels [B] on the pipeline's device."""
        config, device = self.unet.config, self._execution_device
        shape = (config.img_channels, config.img_resolution, config.img_resolution)
        count = _count(class_labels, seeds, generator, batch_size)
        if seeds is not None:
            noise, drawn = seeded_noise(seeds, shape, config.label_dim, device)
        else:
            generators = list(generator) if isinstance(generator, Sequence) else generator
            noise = randn_tensor((count, *shape), generator=generators, device=device, dtype=torch.float32)
            drawn = _draw_labels(config.label_dim, count, generators, device) if config.label_dim else None
        return noise, drawn if class_labels is None else self._labels(class_labels, count, device)

    def _labels(self, class_labels: int | Sequence[int] | Tensor, count: int, device: torch.device) -> Tensor:
        labels = torch.as_tensor(class_labels, dtype=torch.int64).reshape(-1)
        for label in labels.tolist():
            check_label(label, self.unet.config.label_dim)
        return labels.expand(count).to(device)

    def _decode(self, x: Tensor, output_type: str) -> Any:
        """Images of a type from what the network made."""
        spec = dict(self.config.encoder)
        if spec["name"] == "vae":
            if self.vae is None:
                raise UserError(
                    "the models make latents and the pipeline has no vae; load it with one, or take latents"
                )
            self.vae.to(torch.float32)
        pixels = make_encoder(spec, self.vae).decode(x).cpu()
        if output_type == "pt":
            return pixels.to(torch.float32) / 255
        array = pixels.permute(0, 2, 3, 1).numpy()
        if output_type == "np":
            return array.astype(np.float32) / 255
        return [Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image) for image in array]


def _as_denoiser(unet: EDM2UNet) -> Callable[..., Tensor]:
    """A denoiser as guidance and solvers know it."""
    return lambda x, sigma, labels=None: unet(x, sigma, labels, return_dict=False)[0]


def _number(value: float | str) -> float:
    """Inverse of `edm2lite.config.plain` for a number: JSON has no infinity."""
    return float(value.removeprefix(".")) if isinstance(value, str) else value


def _count(class_labels: Any, seeds: Any, generator: Any, batch_size: int | None) -> int:
    """How many images are asked for."""
    if seeds is not None and generator is not None:
        raise UserError("seeds and generator are given; leave one of the two out")
    several = {"class_labels": class_labels, "seeds": seeds, "generator": generator}
    counts = {name: len(value) for name, value in several.items() if isinstance(value, Sequence | np.ndarray)}
    if isinstance(class_labels, Tensor) and class_labels.ndim:
        counts["class_labels"] = len(class_labels)
    if batch_size is not None:
        counts["batch_size"] = batch_size
    if len(set(counts.values())) > 1:
        raise UserError(f"the numbers of images differ: {', '.join(f'{k} {v}' for k, v in counts.items())}")
    return next(iter(counts.values()), 1)


def _draw_labels(
    label_dim: int, count: int, generator: list[torch.Generator] | torch.Generator | None, device: torch.device
) -> Tensor:
    """Uniform classes, from the generators that the noise came from."""
    if isinstance(generator, list):
        return torch.cat([_draw_labels(label_dim, 1, g, device) for g in generator])
    source = torch.device("cpu") if generator is None else generator.device
    return torch.randint(label_dim, (count,), generator=generator, device=source).to(device)
