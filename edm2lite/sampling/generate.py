"""Images from seeds, in batches of one size."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from edm2lite.config import SamplerConfig
from edm2lite.errors import UserError
from edm2lite.sampling.seeded import SeededStreams
from edm2lite.sampling.solve import solve


class Samples(NamedTuple):
    """Images of some seeds: encoded images float32 [B,C,H,W] and their classes, int64 [B] or None."""

    seeds: list[int]
    images: Tensor
    labels: Tensor | None


def generate(
    denoise: Callable[..., Tensor], seeds: Sequence[int], *, shape: Sequence[int], label_dim: int,
    sampler: SamplerConfig, batch_size: int, label: int | None = None, device: torch.device | str = "cpu",
) -> Iterator[Samples]:  # fmt: skip
    """Sample every seed once, in the order given, `batch_size` at a time.

    A short last batch is padded to the full size (and the padding dropped), because an image is the same to the byte
    only at one batch size.

    Args:
        denoise: Denoiser, guided or not.
        seeds: Seeds.
        shape: Of an encoded image, (C, H, W).
        label_dim: Classes of the main model; 0: none.
        sampler: Solver settings.
        batch_size: Samples computed together.
        label: One class for all; default: drawn from each seed.
        device: Where to compute.

    Raises:
        UserError: If the label is not one of the classes.
    """
    check_label(label, label_dim)
    for start in range(0, len(seeds), batch_size):
        batch = list(seeds[start : start + batch_size])
        streams = SeededStreams(batch + [batch[-1]] * (batch_size - len(batch)), device)
        noise = streams.randn(shape)
        labels = streams.randint(label_dim) if label_dim else None
        if labels is not None and label is not None:
            labels = torch.full_like(labels, label)
        images = solve(sampler, denoise, noise, labels=labels, randn_like=streams.randn_like)
        if not images.isfinite().all():
            raise UserError(
                f"images of seeds {batch[0]}-{batch[-1]} are not finite; lower the guidance weight, or compute in fp32"
            )
        yield Samples(batch, images[: len(batch)], None if labels is None else labels[: len(batch)])


def check_label(label: int | None, label_dim: int) -> None:
    """Raise a UserError unless the label is None or one of the classes 0 ... label_dim - 1."""
    if label is not None and not 0 <= label < label_dim:
        raise UserError(
            f"label is {label}; the main model has " + (f"classes 0-{label_dim - 1}" if label_dim else "none")
        )
