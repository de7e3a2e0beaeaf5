"""Order and randomness of training, keyed by position: image number p of a run is the same whatever came before.

Neither the number of ranks, nor a resume, nor the split into micro-batches changes which image stands at position p of
the training and which noise it gets. Nothing has to be saved to resume exactly.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from edm2lite.data.datasets import Dataset
from edm2lite.data.encoders import make_encoder

_GOLDEN_RATIO = 0x9E3779B97F4A7C15  # keeps the dropout keys of different seeds apart


class Batch(NamedTuple):
    """Training images with everything random that belongs to them.

    Attributes:
        images: Encoded images y, float32 [B, C, H, W].
        labels: Classes, int64 [B].
        normals: Unit normals that choose the noise levels, float32 [B].
        noise: Unit normal noise, float32 [B, C, H, W]; or Student-t, see `PositionDataset`.
        keys: Keys of the dropout masks, int64 [B].
    """

    images: Tensor
    labels: Tensor
    normals: Tensor
    noise: Tensor
    keys: Tensor


class PositionSampler:
    """Endless batches of positions of one rank: step k takes k B + rank b ... + b, with B = b world_size.

    It has no length on purpose: with one, Lightning counts a resumed run against the wrong epoch.
    """

    def __init__(self, first_step: int, batch_size: int, rank: int, world_size: int):
        self.first_step, self.batch_size, self.rank, self.world_size = first_step, batch_size, rank, world_size

    def __iter__(self) -> Iterator[list[int]]:
        local, step = self.batch_size // self.world_size, self.first_step
        while True:
            start = step * self.batch_size + self.rank * local
            yield list(range(start, start + local))
            step += 1


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, length: int) -> np.ndarray:
    """Order of epoch `epoch`."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, epoch], np.uint64))).permutation(length)


class PositionDataset(torch.utils.data.Dataset):
    """Maps positions of a run to batches; `DataLoader` fetches a whole batch through `__getitems__`.

    Args:
        dataset: Images to draw from, each once an epoch, in an order keyed by (seed, epoch).
        seed: Seed of the run.
        nu: Degrees of freedom of multivariate Student-t noise (Pandey et al. 2024, Heavy-Tailed Diffusion Models):
            z / sqrt(kappa) with z normal and one kappa ~ chi2(nu) / nu an image. None: Gaussian noise.
    """

    def __init__(self, dataset: Dataset, seed: int, nu: float | None = None):
        self.dataset, self.seed, self.nu, self.encoder = dataset, seed, nu, make_encoder(dataset.encoder)
        self._streams = _Streams()

    def index(self, position: int) -> int:
        """Which image stands at a position."""
        epoch, offset = divmod(position, len(self.dataset))
        return int(_permutation(self.seed, epoch, len(self.dataset))[offset])

    def __getitems__(self, positions: list[int]) -> Batch:
        raw, labels = zip(*(self.dataset[self.index(p)] for p in positions), strict=True)
        normals, noise, encoder_noise = self._randomness(positions)
        images = self.encoder.encode(torch.from_numpy(np.stack(raw)), noise=torch.from_numpy(encoder_noise))
        return Batch(
            images,
            torch.tensor(labels),
            torch.from_numpy(normals),
            torch.from_numpy(noise),
            torch.tensor([(position + self.seed * _GOLDEN_RATIO) % 2**63 for position in positions]),
        )

    def _randomness(self, positions: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Random numbers of positions, each from the counter-based stream keyed by (seed, position): sigma, noise, encoder."""
        d, count = self.dataset, len(positions)
        shape = (d.img_channels, d.img_resolution, d.img_resolution)
        normals, noise = np.empty(count, np.float32), np.empty((count, *shape), np.float32)
        encoder_noise = np.empty((count, *shape) if self.encoder.stochastic else (count, 0), np.float32)
        for i, position in enumerate(positions):
            rng = self._streams.at(self.seed, position)
            normals[i] = rng.standard_normal((), np.float32)
            for array in (noise[i], encoder_noise[i]):
                rng.standard_normal(dtype=np.float32, out=array)
            if self.nu is not None:  # drawn last, so that everything else is as without it
                noise[i] /= np.float32(np.sqrt(rng.chisquare(self.nu) / self.nu))
        return normals, noise, encoder_noise


class _Streams:
    """Philox streams by key. One generator is set to the start of each: to make one takes three times as long."""

    def __init__(self) -> None:
        self._rng = np.random.Generator(np.random.Philox(key=0))
        self._start = self._rng.bit_generator.state

    def at(self, *key: int) -> np.random.Generator:
        """The stream of two numbers, good until the next is asked for."""
        self._start["state"]["key"] = np.array(key, np.uint64)
        self._rng.bit_generator.state = self._start
        return self._rng
