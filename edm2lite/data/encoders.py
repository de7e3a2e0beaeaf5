"""Encoders between stored images and what the network sees (Karras et al. 2024a, Appendix A: sigma_data = 0.5)."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from edm2lite.config import SD_VAE
from edm2lite.errors import UserError, unknown_name


class RGBEncoder:
    """Pixels as they are: uint8 0..255 <-> floats around 0.

    Args:
        scale: Grey levels that make one data unit; 127.5 maps 0..255 to -1..1.
    """

    stochastic = False

    def __init__(self, scale: float = 127.5):
        self.scale = scale

    def encode(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """uint8 [B,C,H,W] -> float32 [B,C,H,W], (x - 127.5) / scale; `noise` is not used."""
        return (x.to(torch.float32) - 127.5) / self.scale

    def decode(self, x: Tensor) -> Tensor:
        """float [B,C,H,W] -> uint8 [B,C,H,W]: rounded to the nearest level and clipped to 0..255."""
        return (x.to(torch.float32) * self.scale + 128).clip(0, 255).to(torch.uint8)

    def unit(self, x: Tensor) -> Tensor:
        """float [B,C,H,W] -> pixels [B,C,H,W] in [0, 1], not rounded: differentiable."""
        return ((x * self.scale + 127.5) / 255).clamp(0, 1)


class VAEEncoder:
    """Latents of Stable Diffusion's VAE, standardised per channel to mean 0, standard deviation 0.5.

    Datasets store the posterior's mean and standard deviation (the "moments", 8 channels); a training latent is
    mean + std * noise. The VAE itself is loaded through diffusers, the first time pixels are involved.

    Args:
        vae: Hub name or folder of an `AutoencoderKL`, or such a module.
        raw_mean, raw_std: Measured statistics of the raw latents, per channel.
        final_std: Standard deviation after encoding.
        batch_size: Images that pass the VAE together.
    """

    stochastic = True

    def __init__(
        self, vae: Any = SD_VAE,
        raw_mean: Sequence[float] = (5.81, 3.25, 0.12, -2.15), raw_std: Sequence[float] = (4.17, 4.62, 3.71, 3.28),
        final_std: float = 0.5, batch_size: int = 8,
    ):  # fmt: skip
        self._vae, self.batch_size = vae, batch_size
        self.scale = final_std / torch.tensor(raw_std, dtype=torch.float32).reshape(1, -1, 1, 1)
        self.bias = -torch.tensor(raw_mean, dtype=torch.float32).reshape(1, -1, 1, 1) * self.scale

    def moments(self, pixels: Tensor) -> Tensor:
        """uint8 [B,3,H,W] -> mean and standard deviation of the posterior, float32 [B,8,H/8,W/8]."""
        vae, parts = self.load(pixels.device), []
        for chunk in (pixels.to(torch.float32) / 255).split(self.batch_size):
            posterior = vae.encode(chunk).latent_dist
            parts.append(torch.cat([posterior.mean, posterior.std], dim=1))
        return torch.cat(parts)

    def encode(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Latents for the network, float32 [B,4,h,w].

        Args:
            x: uint8 pixels [B,3,8h,8w], or stored moments, float [B,8,h,w].
            noise: Unit normals [B,4,h,w]; default: drawn from torch's global stream.
        """
        mean, std = (self.moments(x) if x.dtype == torch.uint8 else x.to(torch.float32)).chunk(2, dim=1)
        latents = mean + std * (torch.randn_like(mean) if noise is None else noise.to(mean))
        return latents * self.scale.to(mean) + self.bias.to(mean)

    def decode(self, x: Tensor) -> Tensor:
        """Latents [B,4,h,w] -> uint8 pixels [B,3,8h,8w], clamped and truncated."""
        return (self.unit(x) * 255).to(torch.uint8)

    def unit(self, x: Tensor) -> Tensor:
        """Latents [B,4,h,w] -> pixels [B,3,8h,8w] in [0, 1], not rounded: differentiable."""
        raw = (x.to(torch.float32) - self.bias.to(x.device)) / self.scale.to(x.device)
        vae = self.load(x.device)
        return torch.cat([vae.decode(chunk).sample for chunk in raw.split(self.batch_size)]).clamp(0, 1)

    def load(self, device: torch.device) -> Any:
        """The VAE module in evaluation mode on `device`."""
        if isinstance(self._vae, str):
            self._vae = _pretrained(self._vae)
        return self._vae.to(device).eval().requires_grad_(False)


@lru_cache(maxsize=1)  # a table makes many encoders of one VAE
def _pretrained(name: str) -> Any:
    """An AutoencoderKL by its hub name or folder."""
    try:
        from diffusers import AutoencoderKL
    except ImportError as e:
        raise UserError("latents need the VAE: pip install 'edm2lite[vae]'") from e
    try:
        return AutoencoderKL.from_pretrained(name, use_safetensors=True, low_cpu_mem_usage=False)
    except OSError as e:
        raise UserError(f"the VAE {name} cannot be loaded ({str(e).splitlines()[0]}); give a local folder") from e


Encoder = RGBEncoder | VAEEncoder
VAE_STATISTICS = ("raw_mean", "raw_std", "final_std")
_ENCODERS: dict[str, tuple[type, tuple[str, ...]]] = {
    "rgb": (RGBEncoder, ("scale",)),
    "vae": (VAEEncoder, VAE_STATISTICS),
}


def make_encoder(spec: dict[str, Any], vae: Any = SD_VAE) -> Encoder:
    """Encoder from its specification as snapshots and datasets record it: {"name": "rgb" | "vae", ...numbers}.

    Args:
        spec: Numbers alone: which VAE is loaded is never up to a file.
        vae: Hub name or folder of the VAE, where one is needed, or the module itself.

    Raises:
        UserError: If the name is unknown, or an argument is no number (or list of numbers) that the encoder has.
    """
    arguments = dict(spec)
    name = arguments.pop("name", None)
    if name not in _ENCODERS:
        raise unknown_name("encoder", name, _ENCODERS)
    encoder, allowed = _ENCODERS[name]
    for key, value in arguments.items():
        numbers = value if isinstance(value, list) else [value]
        if key not in allowed or not all(isinstance(n, int | float) for n in numbers):
            raise UserError(f"encoder {name} has {key} = {value!r}; allowed are numbers for: {', '.join(allowed)}")
    return VAEEncoder(vae, **arguments) if encoder is VAEEncoder else encoder(**arguments)
