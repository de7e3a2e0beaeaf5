"""Randomness that belongs to the sample: one stream per seed, whatever the batch, the order or the rank."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from edm2lite.errors import UserError

_MAX_SEED = 2**32


class SeededStreams:
    """One CPU generator per seed, each drawn from in the same order: starting noise, label, then fresh noise by step.

    Args:
        seeds: One seed per sample; taken modulo 2^32.
        device: Where the drawn tensors go. They are drawn on the CPU, so they do not depend on it.
        purpose: Tells streams of the same seeds apart, such as those of two degraded networks; "": the published stream.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu", purpose: str = ""):
        seeds = [int(seed) % _MAX_SEED for seed in seeds]
        if not seeds:
            raise UserError("no seeds were given; at least one is needed")
        if purpose:
            seeds = [_derived(seed, purpose) for seed in seeds]
        self.generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        self.device = device

    def randn(self, shape: Sequence[int]) -> Tensor:
        """Unit normals, float32 [B, *shape]."""
        drawn = [torch.randn(list(shape), generator=g, device="cpu") for g in self.generators]
        return torch.stack(drawn).to(self.device)

    def randint(self, high: int) -> Tensor:
        """Uniform integers below `high`, int64 [B]."""
        drawn = [torch.randint(high, [], generator=g, device="cpu") for g in self.generators]
        return torch.stack(drawn).to(self.device)

    def randn_like(self, x: Tensor) -> Tensor:
        """Unit normals like x, [B, ...]."""
        drawn = [torch.randn(x.shape[1:], generator=g, dtype=x.dtype, device="cpu") for g in self.generators]
        return torch.stack(drawn).to(x.device)

    def keys(self) -> Tensor:
        """Keys of dropout masks, int64 [B]."""
        return self.randint(2**63 - 1)


def _derived(seed: int, purpose: str) -> int:
    """Another seed, below 2^63, for a purpose."""
    return int.from_bytes(hashlib.sha256(f"{seed} {purpose}".encode()).digest()[:8], "little") >> 1


def seeded_noise(
    seeds: Sequence[int], shape: Sequence[int], num_classes: int = 0, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor | None]:
    """Starting noise and labels of each seed: bitwise the same in any batch and order.

    Args:
        seeds: One per sample.
        shape: Of a sample, (C, H, W).
        num_classes: Labels are uniform below it; 0: no labels.
        device: Where the tensors go.

    Returns:
        Unit normal noise, float32 [B, C, H, W], and labels, int64 [B], or None without classes.
    """
    streams = SeededStreams(seeds, device)
    noise = streams.randn(shape)
    return noise, streams.randint(num_classes) if num_classes else None
