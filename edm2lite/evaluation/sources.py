"""Where images come from that are to be measured: a pair that samples them, files, or a dataset."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from edm2lite.background import ahead
from edm2lite.config import SamplerConfig, plain
from edm2lite.data.datasets import Dataset, fingerprint
from edm2lite.data.encoders import RGBEncoder
from edm2lite.errors import UserError
from edm2lite.sampling.pair import Pair
from edm2lite.sampling.reading import Images

_THREADS = 8  # that decode images; most of that work is outside of Python's lock


class Batch(NamedTuple):
    """Some images: their keys, uint8 pixels [B, C, H, W], and classes, int64 [B], where known.

    `halved_to` is the batch size they were made with, if memory ran out with the one asked for.
    """

    keys: list[int]
    pixels: Tensor
    labels: Tensor | None
    halved_to: int | None = None


class Source(Protocol):
    """Images by key: a seed, or the place in an ordered set.

    Attributes:
        name: For messages.
        identity: Everything that decides the pixels of a key, as plain data.
        keys: Of all images.
        shape: (C, H, W) of the images; None: not known before they are made.
        batch_size: Images computed together.
    """

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> dict[str, Any]: ...

    @property
    def keys(self) -> Sequence[int]: ...

    @property
    def shape(self) -> tuple[int, ...] | None: ...

    @property
    def batch_size(self) -> int: ...

    def batches(self, keys: Sequence[int]) -> Iterator[Batch]:
        """The images of these keys, `batch_size` at a time.

        Where they are read and decoded, which the CPU does, the next batch is while the caller computes with this one; where a
        model makes them, it would only be in the way of the detectors on the same device.
        """
        ...


class PairSource:
    """Images that a pair samples from seeds; none is written.

    Args:
        pair: Who makes them.
        seeds: The keys.
        sampler, batch_size, labels: See `Pair.sample`.
    """

    def __init__(
        self, pair: Pair, seeds: Sequence[int], sampler: SamplerConfig, batch_size: int, labels: str = "uniform"
    ):
        pair.check(labels=labels)
        self.pair, self.keys, self.sampler, self.batch_size, self.labels = pair, seeds, sampler, batch_size, labels
        self.name = "the main model"
        self.shape = pair.shape if isinstance(pair.encoder, RGBEncoder) else None
        self.identity = {
            "pair": pair.identity(),
            "sampler": plain(asdict(sampler)),
            "batch_size": batch_size,
            "labels": labels,
            "precision": str(pair.main.denoiser.compute_dtype).removeprefix("torch."),
            "device": pair.device.type,
        }
        if not isinstance(pair.encoder, RGBEncoder):  # how latents are scaled is no part of the weights
            self.identity["encoder"] = pair.main.info.encoder

    def batches(self, keys: Sequence[int]) -> Iterator[Batch]:
        halved: list[int] = []
        for samples in self.pair.sample(
            keys, self.sampler, self.batch_size, labels=self.labels, on_halved=halved.append
        ):
            yield Batch(samples.seeds, samples.pixels, samples.labels, halved[-1] if halved else None)


class FileSource:
    """Images in files, in the order of `open_images`.

    Raises:
        UserError: From `batches`, if an image cannot be read or has another shape than the first.
    """

    def __init__(self, images: Images, batch_size: int):
        self.images, self.batch_size, self.name = images, batch_size, images.path
        self.keys, self.identity = range(len(images.names)), {"images": images.fingerprint}
        self.shape = images.read(0).shape if images.names else None

    def batches(self, keys: Sequence[int]) -> Iterator[Batch]:
        return ahead(self._decoded(keys))

    def _decoded(self, keys: Sequence[int]) -> Iterator[Batch]:
        labels = self.images.labels
        with ThreadPoolExecutor(_THREADS) as pool:
            for batch in _parts(keys, self.batch_size):
                pixels = np.stack(list(pool.map(self._read, batch)))
                known = None if labels is None else torch.tensor([labels[key] for key in batch])
                yield Batch(batch, torch.from_numpy(pixels), known)

    def _read(self, key: int) -> np.ndarray:
        pixels = self.images.read(key)
        if pixels.shape != self.shape:
            raise UserError(
                f"{self.images.names[key]} has shape {list(pixels.shape)} (channels, height, width), the first image has "
                f"{list(self.shape or ())}; images measured together must have one shape: remove it, or sample it again"
            )
        return pixels


class DatasetSource:
    """All images of a dataset.

    Raises:
        UserError: If it holds latents.
    """

    def __init__(self, dataset: Dataset, batch_size: int):
        if dataset.encoder["name"] != "rgb":
            raise UserError(
                f"{dataset.name} holds latents; statistics are of pixels: name the dataset it was encoded from"
            )
        self.dataset, self.batch_size, self.name = dataset, batch_size, dataset.name
        self.keys, self.identity = range(len(dataset)), {"dataset": fingerprint(dataset)}
        self.shape = (dataset.img_channels, dataset.img_resolution, dataset.img_resolution)

    def batches(self, keys: Sequence[int]) -> Iterator[Batch]:
        return ahead(self._decoded(keys))

    def _decoded(self, keys: Sequence[int]) -> Iterator[Batch]:
        with ThreadPoolExecutor(_THREADS) as pool:
            for batch in _parts(keys, self.batch_size):
                pixels = np.stack([raw for raw, _ in pool.map(self.dataset.__getitem__, batch)])
                labels = torch.from_numpy(self.dataset.labels[batch]) if self.dataset.label_dim else None
                yield Batch(batch, torch.from_numpy(pixels), labels)


def _parts(keys: Sequence[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(keys), size):
        yield list(keys[start : start + size])
