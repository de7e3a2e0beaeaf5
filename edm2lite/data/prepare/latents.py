"""Images through the VAE: moments of chunks of a dataset, and the statistics of raw latents."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from edm2lite.data.encoders import VAEEncoder
from edm2lite.data.stored import MOMENTS, StoredDataset
from edm2lite.errors import UserError

Sums = dict[str, list[float]]


def encode_images(
    source: StoredDataset,
    indices: range,
    encoder: VAEEncoder,
    device: torch.device,
    dtype: str,
    tick: Callable[[int], object],
) -> tuple[np.ndarray, Sums]:
    """Moments of some RGB images, and their sums.

    Args:
        source: Dataset of RGB images.
        indices: Which of them.
        encoder: Encodes batches of its batch_size.
        device: Where the VAE computes.
        dtype: Of the result.
        tick: Is told after every batch how many images it had.

    Returns:
        Moments [n, 8, h, w], and per channel the sums of the mean, of its square, and of the variance.

    Raises:
        UserError: If the VAE does not fit the images, or memory is too small.
    """
    parts, sums = [], []
    for pixels in _batches(source, indices, encoder.batch_size):
        moments = _moments(encoder, pixels, device).numpy().astype(dtype)
        if not _fits(pixels.shape[-1], moments.shape):
            raise UserError(
                f"images of {pixels.shape[-1]} pixels become {list(moments.shape[1:])} with this VAE; it must have 4 latent "
                "channels and the size be a multiple of its factor: convert with another --size"
            )
        parts.append(moments)
        sums.append(_sums(moments))
        tick(len(moments))
    return np.concatenate(parts), {key: np.sum([part[key] for part in sums], axis=0).tolist() for key in sums[0]}


def _fits(size: int, latent: tuple[int, ...]) -> bool:
    """Whether a VAE's halvings left no rest, and moments of 4 channels."""
    factor, rest = divmod(size, latent[-1])
    return rest == 0 and factor & (factor - 1) == 0 and latent[1] == MOMENTS


def _batches(source: StoredDataset, indices: range, size: int) -> Iterator[torch.Tensor]:
    """Images uint8 [b, 3, S, S]; the next batch is read while the last one is encoded."""
    with ThreadPoolExecutor(1) as pool:
        parts = [indices[i : i + size] for i in range(0, len(indices), size)]
        load = lambda part: torch.from_numpy(np.stack([source.raw(i) for i in part]))  # noqa: E731
        ahead = pool.submit(load, parts[0])
        for following in [*parts[1:], None]:
            batch = ahead.result()
            if following is not None:
                ahead = pool.submit(load, following)
            yield batch


def _moments(encoder: VAEEncoder, pixels: torch.Tensor, device: torch.device) -> torch.Tensor:
    try:
        with torch.inference_mode():
            return encoder.moments(pixels.to(device)).cpu()
    except RuntimeError as e:
        if "memory" not in str(e):
            raise
        raise UserError(
            f"out of memory on {device} with {len(pixels)} images of {pixels.shape[-1]} pixels; lower --batch_size"
        ) from e


def _sums(moments: np.ndarray) -> dict[str, np.ndarray]:
    """Per channel, over all images and places."""
    mean, std = np.split(moments.astype(np.float64), 2, axis=1)
    parts = {"mean": mean, "mean2": mean**2, "variance": std**2}
    return {name: part.sum(axis=(0, 2, 3)) for name, part in parts.items()}


def measured(sums: list[Sums], count: int) -> dict[str, list[float]]:
    """Mean and standard deviation of the raw latents mean + std n, per channel: the variance is Var[mean] + E[std^2].

    Args:
        sums: Of every chunk, see `encode_images`.
        count: Numbers a channel.
    """
    mean, mean2, variance = (
        np.sum([chunk[name] for chunk in sums], axis=0) / count for name in ("mean", "mean2", "variance")
    )
    std = np.sqrt(mean2 - mean**2 + variance)
    return {"raw_mean": mean.round(6).tolist(), "raw_std": std.round(6).tolist()}
