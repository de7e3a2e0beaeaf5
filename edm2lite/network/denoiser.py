"""The preconditioned denoiser D(x; sigma) and its learned uncertainty (Karras et al. 2022 and 2024a)."""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from edm2lite.config import NetworkConfig
from edm2lite.network.compiling import compile_
from edm2lite.network.dropout import Dropout
from edm2lite.network.layers import MPConv, MPFourier
from edm2lite.network.optimize import AppliedConv, applied
from edm2lite.network.unet import UNet


class Scalings(NamedTuple):
    """c_skip, c_out, c_in [B,1,1,1] and c_noise [B] of EDM's preconditioning (2022, Table 1); B is 1 if all share a level."""

    skip: Tensor
    out: Tensor
    in_: Tensor
    noise: Tensor


def scalings(sigma: Tensor, sigma_data: float) -> Scalings:
    """Preconditioning coefficients for noise levels sigma, [B] or one for all [1], float32."""
    s = sigma.reshape(-1, 1, 1, 1)
    total = (s**2 + sigma_data**2).sqrt()
    return Scalings(sigma_data**2 / total**2, s * sigma_data / total, 1 / total, sigma.log() / 4)


class Denoiser(nn.Module):
    """D(x; sigma) = c_skip x + c_out F(c_in x; c_noise): float32 outside, `compute_dtype` inside the UNet.

    Args:
        img_resolution: Height and width of the (latent) images, in pixels.
        img_channels: Their channels.
        label_dim: Number of classes; 0: unconditional.
        network: Everything else about the architecture.
        compute_dtype: dtype of the UNet's activations. Weights are stored in float32 and cast at use.
    """

    def __init__(
        self, img_resolution: int, img_channels: int, label_dim: int, network: NetworkConfig,
        compute_dtype: torch.dtype = torch.float32,
    ):  # fmt: skip
        super().__init__()
        self.img_resolution, self.img_channels, self.label_dim = img_resolution, img_channels, label_dim
        self.network, self.compute_dtype = network, compute_dtype
        self.sigma_data = network.sigma_data
        self.unet = UNet(network, img_resolution, img_channels, label_dim)
        self.logvar_fourier = MPFourier(network.logvar_channels)
        self.logvar_linear = MPConv(network.logvar_channels, 1, ())
        self.register_load_state_dict_pre_hook(_scalars_to_vectors)

    def forward(
        self,
        x: Tensor,
        sigma: Tensor | float,
        labels: Tensor | None = None,
        dropout: tuple[float, Tensor] | None = None,
    ) -> Tensor:
        """Denoise.

        Args:
            x: Noisy images in data units, [B, C, H, W], float32.
            sigma: Noise level, scalar or [B], positive.
            labels: Classes, int64 [B]; None: the null label.
            dropout: Probability, and the keys of the masks, int64 [B]; None: no dropout.

        Returns:
            Denoised images, [B, C, H, W], float32.
        """
        x = x.to(torch.float32)
        c = scalings(self._levels(sigma, x), self.sigma_data)
        masks = None if dropout is None else Dropout(*dropout)
        F_x = self.unet((c.in_ * x).to(self.compute_dtype), c.noise, labels if self.label_dim else None, masks)
        return c.skip * x + c.out * F_x.to(torch.float32)

    def logvar(self, sigma: Tensor | float) -> Tensor:
        """Learned log-variance u(sigma) of the loss (2024a, Eq. 21): scalar or [B] -> [B,1,1,1], float32."""
        freqs = self.logvar_fourier.freqs
        sigma = torch.as_tensor(sigma, dtype=torch.float32, device=freqs.device).reshape(-1)
        return self.logvar_linear(self.logvar_fourier(sigma.log() / 4)).reshape(-1, 1, 1, 1)

    def optimize(self, dtype: torch.dtype | None = None, *, compile: bool = True) -> "Denoiser":
        """A copy for sampling: weights normalised, scaled and cast once, channels_last, frozen, and compiled.

        Not compiled it gives the same bits as this denoiser in channels_last; compiled, the same numbers to rounding. The first
        call for each batch size compiles, which takes a while and is shown. CUDA kernels are replayed as a graph.

        Args:
            dtype: Of the UNet's activations and weights; default: `compute_dtype`.
            compile: Compile the UNet by torch.compile.

        Raises:
            UserError: If it is such a copy already.
        """
        dtype = dtype or self.compute_dtype
        with torch.device("meta"):
            clone = Denoiser(self.img_resolution, self.img_channels, self.label_dim, self.network, dtype)
        clone.unet = applied(self.unet, dtype)
        clone.logvar_fourier = copy.deepcopy(self.logvar_fourier)
        clone.logvar_linear = AppliedConv(self.logvar_linear, torch.float32)  # type: ignore[assignment]
        if compile:
            size = sum(p.numel() for p in self.unet.parameters()) / 1e6
            name = f"UNet of {size:.1f} M parameters in {str(dtype).removeprefix('torch.')}"
            compile_(clone.unet, name, cudagraphs=True)  # its result is used up in `forward`
        return clone.eval().requires_grad_(False)

    @staticmethod
    def _levels(sigma: Tensor | float, x: Tensor) -> Tensor:
        """Noise levels [B], or [1] for all, beside x; from the CPU, where solvers leave them, without waiting for it."""
        return torch.as_tensor(sigma, dtype=torch.float32).to(x.device, non_blocking=True).reshape(-1)


def _scalars_to_vectors(module: nn.Module, state_dict: dict, prefix: str, *args: object) -> None:
    """Published files hold the gains as 0-dim tensors; FSDP2 needs [1]."""
    for name, value in state_dict.items():
        if name.startswith(prefix) and value.ndim == 0:
            state_dict[name] = value.reshape(1)
