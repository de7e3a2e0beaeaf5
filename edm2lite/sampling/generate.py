"""Images from seeds, in batches of one size."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from edm2lite.config import SamplerConfig
from edm2lite.errors import UserError, first_line
from edm2lite.guidance.wrapper import Denoise
from edm2lite.memory import out_of_memory
from edm2lite.sampling.seeded import SeededStreams
from edm2lite.sampling.solve import solve


class Samples(NamedTuple):
    """Images of some seeds: as sampled, float32 [B,C,H,W]; decoded, uint8 [B,C,H,W]; their classes, int64 [B] or None."""

    seeds: list[int]
    images: Tensor
    pixels: Tensor
    labels: Tensor | None


@dataclass(frozen=True, kw_only=True)
class Job:
    """How to make images of seeds.

    Attributes:
        denoiser: Makes the denoiser for the samples of some seeds.
        shape: Of an encoded image, (C, H, W).
        label_dim: Number of classes; 0: none.
        sampler: Noise levels and solver.
        batch_size: Samples computed together.
        decode: From encoded images to uint8 pixels.
        label: One class for all; None: as `labels` says.
        labels: "uniform" (drawn from each seed) or "balanced" (seed modulo label_dim).
        device: Where to compute.
    """

    denoiser: Callable[[Sequence[int]], Denoise]
    shape: tuple[int, int, int]
    label_dim: int
    sampler: SamplerConfig
    batch_size: int
    decode: Callable[[Tensor], Tensor]
    label: int | None = None
    labels: str = "uniform"
    device: torch.device | str = "cpu"


def generate(
    job: Job, seeds: Sequence[int], on_halved: Callable[[int], None] = lambda batch_size: None
) -> Iterator[Samples]:
    """Sample every seed once, in the order given, `job.batch_size` at a time.

    A short last batch is padded to the full size (and the padding dropped after decoding), because an image is the same to
    the byte only at one batch size. Out of memory, the batch is halved once.

    Args:
        job: How.
        seeds: Seeds.
        on_halved: Called with the new batch size after memory ran out.

    Raises:
        UserError: If images are not finite, or memory runs out with half the batch, too.
    """
    start, halved, said = 0, False, ""
    while start < len(seeds):
        batch = list(seeds[start : start + job.batch_size])
        try:
            samples = _sample(job, batch)
        except RuntimeError as e:
            if not out_of_memory(e):
                raise
            samples, said = None, first_line(e)  # outside of the handler the traceback no longer holds the tensors
        if samples is not None:
            yield samples
            start += len(batch)
        elif halved or job.batch_size == 1:
            raise UserError(
                f"out of memory with batch_size {job.batch_size}; set a smaller --batch_size (torch said: {said})"
            )
        else:
            job, halved = replace(job, batch_size=(job.batch_size + 1) // 2), True
            print(f"out of memory: batch_size is now {job.batch_size}; images agree with others to rounding only")
            on_halved(job.batch_size)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def _sample(job: Job, batch: list[int]) -> Samples:
    padded = batch + [batch[-1]] * (job.batch_size - len(batch))
    streams = SeededStreams(padded, job.device)
    noise = streams.randn(job.shape)
    labels = _labels(streams, padded, job.label_dim, job.label, job.labels) if job.label_dim else None
    images = solve(job.sampler, job.denoiser(padded), noise, labels=labels, randn_like=streams.randn_like)
    if not images.isfinite().all():
        raise UserError(
            f"images of seeds {batch[0]}-{batch[-1]} are not finite; lower the guidance weight, or compute in fp32"
        )
    count = len(batch)
    return Samples(batch, images[:count], job.decode(images)[:count], None if labels is None else labels[:count])


def _labels(streams: SeededStreams, seeds: Sequence[int], label_dim: int, label: int | None, labels: str) -> Tensor:
    """Classes of the samples; the seed's own is drawn in any case, so that the noise after it stays the same."""
    drawn = streams.randint(label_dim)
    if label is not None:
        return torch.full_like(drawn, label)
    if labels == "balanced":
        return torch.tensor([seed % label_dim for seed in seeds]).to(drawn)
    return drawn


def classes(
    seeds: Sequence[int], shape: tuple[int, int, int], label_dim: int, label: int | None = None, labels: str = "uniform"
) -> dict[int, int]:
    """The class of each seed's image, as `generate` draws it for a `Job` of these values; empty without classes."""
    found: dict[int, int] = {}
    for start in range(0, len(seeds) if label_dim else 0, 256):
        some = seeds[start : start + 256]
        streams = SeededStreams(some)
        streams.randn(shape)  # comes before the label in each stream
        found |= zip(some, _labels(streams, some, label_dim, label, labels).tolist(), strict=True)
    return found


def check_label(label: int | None, label_dim: int) -> None:
    """Raise a UserError unless the label is None or one of the classes 0 ... label_dim - 1."""
    if label is not None and not 0 <= label < label_dim:
        raise UserError(
            f"label is {label}; the main model has " + (f"classes 0-{label_dim - 1}" if label_dim else "none")
        )
