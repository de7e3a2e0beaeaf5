"""Our denoiser as a model of diffusers."""

import os
from dataclasses import asdict
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor

from edm2lite.config import plain
from edm2lite.network.denoiser import Denoiser
from edm2lite.snapshots.files import network_config


class EDM2UNet(ModelMixin, ConfigMixin):
    """An EDM2 denoiser: (noisy image, noise level, class) -> denoised image, not noise.

    Its weights stay in float32, whatever diffusers is told: a dtype (`torch_dtype=torch.float16`, `pipe.to(torch.bfloat16)`)
    is that of the activations, as in training. Frequencies rounded to 16 bits would spoil the features of the noise level.

    Args:
        img_resolution: Height and width of the (latent) images, in pixels.
        img_channels: Their channels.
        label_dim: Number of classes; 0: unconditional.
        network: The fields of `edm2lite.config.NetworkConfig`.
    """

    @register_to_config
    def __init__(self, img_resolution: int, img_channels: int, label_dim: int, network: dict[str, Any]):
        super().__init__()
        self.denoiser = Denoiser(img_resolution, img_channels, label_dim, network_config(network))

    @classmethod
    def from_denoiser(cls, denoiser: Denoiser) -> "EDM2UNet":
        """The model of a denoiser, which becomes part of it."""
        with torch.device("meta"):
            model = cls(
                denoiser.img_resolution, denoiser.img_channels, denoiser.label_dim, plain(asdict(denoiser.network))
            )
        model.denoiser = denoiser
        return model.eval()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike | None, **kwargs: Any) -> "EDM2UNet":
        """Load from a folder or the hub; see diffusers. `dtype` (or `torch_dtype`) is that of the activations."""
        dtypes = (
            kwargs.pop("torch_dtype", None),
            kwargs.pop("dtype", None),
        )  # diffusers' name for it before 0.36, and now
        model = super().from_pretrained(pretrained_model_name_or_path, torch_dtype=torch.float32, **kwargs)
        model.denoiser.compute_dtype = dtypes[0] or dtypes[1] or torch.float32
        return model.requires_grad_(False)

    def to(self, *args: Any, **kwargs: Any) -> "EDM2UNet":
        """Move; a dtype sets that of the activations."""
        device, dtype, non_blocking, memory_format = torch._C._nn._parse_to(*args, **kwargs)
        if dtype is not None:
            self.denoiser.compute_dtype = dtype
        return super().to(device=device, non_blocking=non_blocking, memory_format=memory_format)

    def half(self) -> "EDM2UNet":
        """Compute in float16."""
        return self.to(torch.float16)

    def bfloat16(self) -> "EDM2UNet":
        """Compute in bfloat16."""
        return self.to(torch.bfloat16)

    def forward(
        self, sample: Tensor, timestep: Tensor | float, class_labels: Tensor | None = None, return_dict: bool = True
    ) -> UNet2DOutput | tuple[Tensor]:
        """Denoise.

        Args:
            sample: Noisy images in data units, [B, C, H, W].
            timestep: Their noise level sigma, scalar or [B].
            class_labels: Classes, int64 [B]; None: the null label.
            return_dict: Return a `UNet2DOutput`, not a tuple.

        Returns:
            Denoised images, [B, C, H, W], float32.
        """
        denoised = self.denoiser(sample, timestep, class_labels)
        return UNet2DOutput(sample=denoised) if return_dict else (denoised,)
