"""Magnitude-preserving operations and layers (Karras et al. 2024a, arXiv 2312.02696, Section 2 and Appendix B).

Every operation keeps the expected squared magnitude of its input, so that activations of unit variance stay so through
the whole network and no normalisation layer or bias is needed. Shapes: B batch, C channels, H height, W width.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edm2lite.network.shards import local_shard

EPS = 1e-4
MP_SILU_GAIN = 0.596  # Eq. 81: rms of silu(x) for x ~ N(0, 1)


def normalize(x: Tensor, dim: int | tuple[int, ...] | None = None) -> Tensor:
    """Divide by (eps + rms) over `dim`, by default all dimensions but the first (Eq. 66); any shape, same shape back.

    The rms is taken in float32 at least, whatever the dtype of x.
    """
    if dim is None:
        dim = tuple(range(1, x.ndim))
    precision = torch.promote_types(x.dtype, torch.float32)
    norm = torch.linalg.vector_norm(x, dim=dim, keepdim=True, dtype=precision)
    norm = EPS + norm * math.sqrt(norm.numel() / x.numel())
    return x / norm.to(x.dtype)


def mp_silu(x: Tensor) -> Tensor:
    """SiLU scaled to unit output magnitude for unit normal input (Eq. 81)."""
    return F.silu(x) / MP_SILU_GAIN


def mp_sum(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Blend of a and b with weights 1-t and t, rescaled to unit magnitude (Eq. 88)."""
    return ((1 - t) * a + t * b) / math.sqrt((1 - t) ** 2 + t**2)


def mp_cat(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Concatenate [B,Na,...] and [B,Nb,...] along channels, their contributions balanced as 1-t to t (Eq. 103)."""
    Na, Nb = a.shape[1], b.shape[1]
    C = math.sqrt((Na + Nb) / ((1 - t) ** 2 + t**2))
    return torch.cat([a * (C * (1 - t) / math.sqrt(Na)), b * (C * t / math.sqrt(Nb))], dim=1)


def resample(x: Tensor, mode: str, taps: tuple[float, ...] = (1, 1)) -> Tensor:
    """Resample [B,C,H,W] by two with a separable filter: mode "keep", "down" (H/2, W/2) or "up" (2H, 2W).

    The default taps (1, 1) average 2x2 pixels on the way down and repeat them on the way up.
    """
    if mode == "keep":
        return x
    if len(taps) == 2 and taps[0] == taps[1]:
        if mode == "down":
            return F.avg_pool2d(x, 2)
        return F.interpolate(x, scale_factor=2, mode="nearest")
    channels, padding = x.shape[1], (len(taps) - 1) // 2
    row = torch.tensor(taps, dtype=x.dtype, device=x.device) / sum(taps)
    kernel = (row[:, None] * row[None, :]).expand(channels, 1, -1, -1)
    if mode == "down":
        return F.conv2d(x, kernel, groups=channels, stride=2, padding=padding)
    return F.conv_transpose2d(x, kernel * 4, groups=channels, stride=2, padding=padding)


class MPFourier(nn.Module):
    """Random Fourier features sqrt(2) cos(2 pi (f x + phi)) of a batch of scalars: [B] -> [B, num_channels] (Eq. 75)."""

    freqs: Tensor
    phases: Tensor

    def __init__(self, num_channels: int):
        super().__init__()
        self.register_buffer("freqs", 2 * math.pi * torch.randn(num_channels))
        self.register_buffer("phases", 2 * math.pi * torch.rand(num_channels))

    def forward(self, x: Tensor) -> Tensor:
        y = x.float()[:, None] * self.freqs.float() + self.phases.float()
        return (y.cos() * math.sqrt(2)).to(x.dtype)


class MPConv(nn.Module):
    """Convolution (or, with an empty kernel, linear layer) whose weight has unit rms per output channel (Eq. 47).

    The weight is normalised in every forward, inside the graph. The stored weight itself is replaced by its normalised
    version once per training step, outside the graph (`normalize_weights_`): forced weight normalisation, Eq. 66.

    Args:
        in_channels, out_channels: Widths.
        kernel: Height and width; empty: a linear layer.
        qkv_heads: Heads of a layer that gives queries, keys and values: its rows are stored in the published order [head,
            channel, (q,k,v)], and applied in the order [(q,k,v), head, channel], which attention reads without a copy. 0: any
            other layer.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: tuple[int, ...], qkv_heads: int = 0):
        super().__init__()
        self.qkv_heads = qkv_heads
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, *kernel))

    def scaled_weight(self, dtype: torch.dtype, gain: Tensor | float = 1.0) -> Tensor:
        """The weight as it is applied: normalised in float32, times gain / sqrt(fan-in), in `dtype`; see `qkv_heads`."""
        w = normalize(self.weight.float())
        w = (w * (gain / math.sqrt(w[0].numel()))).to(dtype)
        return w.unflatten(0, (self.qkv_heads, -1, 3)).movedim(2, 0).flatten(0, 2) if self.qkv_heads else w

    def forward(self, x: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        w = self.scaled_weight(x.dtype, gain)
        if w.ndim == 2:
            return F.linear(x, w)
        return F.conv2d(x, w, padding=w.shape[-1] // 2)


class MPEmbedding(nn.Module):
    """Linear layer on a one-hot label times sqrt(num_labels), computed as a column lookup: int64 [B] -> [B, out]."""

    def __init__(self, num_labels: int, out_channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, num_labels))

    def forward(self, labels: Tensor, dtype: torch.dtype) -> Tensor:
        return F.embedding(labels, normalize(self.weight.float()).t()).to(dtype)


@torch.no_grad()
def normalize_weights_(net: nn.Module) -> None:
    """Forced weight normalisation (Eq. 66), in place: once at the start of training, then after every EMA update.

    Never inside the forward: under torch.compile a write there gives wrong gradients, under FSDP2 it is lost. In float64,
    because a norm rounded to float32 moves a whole row by an ulp or not: runs that should be equal would drift apart. Only
    the norms are kept in float64; the division rounds once, from float64 to the weight. Sharded weights need no
    communication: a shard holds whole rows.
    """
    layers = [module for module in net.modules() if isinstance(module, MPConv | MPEmbedding)]
    weights = [weight for layer in layers if (weight := local_shard(layer.weight)).numel() > 0]
    if not weights:
        return
    norms = [
        torch.linalg.vector_norm(w, dim=tuple(range(1, w.ndim)), keepdim=True, dtype=torch.float64) for w in weights
    ]
    torch._foreach_mul_(norms, [math.sqrt(len(w) / w.numel()) for w in weights])
    torch._foreach_add_(norms, EPS)
    for weight, norm in zip(weights, norms, strict=True):
        weight.div_(norm)
