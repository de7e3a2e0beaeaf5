"""Dropout whose mask belongs to the sample: the same key gives the same mask in any batch, on any rank, after any resume.

PyTorch's dropout draws from the device's global stream, which depends on the batch split and on everything drawn before.
Here each bit is a hash of (key of the sample, layer, element), so nothing has to be saved to resume exactly.
"""

from typing import NamedTuple

import torch
from torch import Tensor

_MASK32 = 0xFFFFFFFF


class Dropout(NamedTuple):
    """Dropout of one evaluation: its probability in [0, 1), and one int64 key per sample, [B]."""

    p: float
    keys: Tensor


def _mix(h: Tensor) -> Tensor:
    """Avalanche a non-negative int64 tensor to 32 bits (finaliser by C. Wellons, odd constants under 2^31)."""
    h = h & _MASK32
    h = ((h ^ (h >> 16)) * 0x7FEB352D) & _MASK32
    h = ((h ^ (h >> 15)) * 0x446CA68B) & _MASK32
    return h ^ (h >> 16)


def keyed_dropout(x: Tensor, p: float, keys: Tensor, layer: int) -> Tensor:
    """Zero each element with probability p and scale the rest by 1/(1-p).

    Args:
        x: Activations, [B, C, H, W].
        p: Dropout probability in [0, 1).
        keys: One int64 key per sample, [B].
        layer: Number that tells this layer's mask from those of other layers.
    """
    elements = _mix(torch.arange(x[0].numel(), device=x.device, dtype=torch.int64) + (layer << 24))
    rows = _mix(keys ^ _mix(keys >> 32))
    bits = _mix(_mix(rows[:, None] + elements) ^ elements)
    keep = (bits >= int(p * 2**32)).view(x.shape)
    return (x / (1 - p)).masked_fill(~keep, 0)  # keeps the memory layout of x, which torch.where does not
