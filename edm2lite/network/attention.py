"""Attention by PyTorch's fused kernels, and the choice among them.

All give the same numbers to rounding. Which is fastest depends on device, shape and version, so it is measured, not guessed.
"""

import warnings
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from edm2lite.errors import UserError, unknown_name

AUTO = "auto"  # torch's own choice
BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}


def attend(q: Tensor, k: Tensor, v: Tensor, backend: str = AUTO) -> Tensor:
    """softmax(q k^T / sqrt(channels)) v.

    Args:
        q, k, v: [B, head, pixel, channel] each. Most backends take them only if the channels of a head lie side by side.
        backend: auto, or one of `BACKENDS`.

    Returns:
        [B, head, pixel, channel].
    """
    if backend == AUTO:
        return F.scaled_dot_product_attention(q, k, v)
    with sdpa_kernel(BACKENDS[backend]):
        return F.scaled_dot_product_attention(q, k, v)


def set_attention_backend(net: nn.Module, name: str, device: torch.device | str | None = None) -> None:
    """Let all blocks of a network attend by one backend.

    Args:
        net: Network with `compute_dtype`, or a part of one that computes in float32.
        name: auto, or one of `BACKENDS`.
        device: Where the network will run; default: where it is.

    Raises:
        UserError: If there is no such backend, or it cannot compute this network there; lists those that can.
    """
    if name not in (AUTO, *BACKENDS):
        raise unknown_name("attention backend", name, (AUTO, *BACKENDS))
    device = torch.device(device) if device is not None else next(chain(net.parameters(), net.buffers())).device
    if name != AUTO and name not in (able := able_backends(net, device)):
        dtype = str(_dtype(net)).removeprefix("torch.")
        raise UserError(
            f"attention backend {name} cannot compute this network in {dtype} on {device}; choose one of: "
            f"{', '.join((AUTO, *able))}"
        )
    for block in _blocks(net):
        block.attention_backend = name


def able_backends(net: nn.Module, device: torch.device) -> list[str]:
    """Those of `BACKENDS` that compute the attention of a network, forward and backward, on a device."""
    widths = {len(block.attn_proj.weight) // block.num_heads for block in _blocks(net) if block.num_heads}
    return [name for name in BACKENDS if all(_works(name, (1, 1, 64, width), _dtype(net), device) for width in widths)]


def _blocks(net: nn.Module) -> list[Any]:
    return [module for module in net.modules() if hasattr(module, "attention_backend")]


def _dtype(net: nn.Module) -> torch.dtype:
    return getattr(net, "compute_dtype", torch.float32)


def _works(backend: str, shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device) -> bool:
    """Whether a backend takes such tensors; it raises RuntimeError, and warns of its reasons, where it does not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            B, heads, pixels, channels = shape
            qkv = torch.randn(B, pixels, 3, heads, channels, dtype=dtype, device=device, requires_grad=True)
            q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # laid out as a block's
            attend(q, k, v, backend).sum().backward()
        except RuntimeError:
            return False
    return True
