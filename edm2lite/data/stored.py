"""What datasets on disk have in common, and what their numbers mean."""

import copy
import os
from pathlib import Path
from typing import Any, Self

import numpy as np

from edm2lite.errors import UserError

MOMENTS = 8  # channels of stored latents: mean and standard deviation of the posterior


class StoredDataset:
    """Base of `PackedDataset` and `ZipDataset`, which say how image i is read.

    Args:
        path: Where it lies; named in errors.
        shape: Of all images, [N, C, H, W]: uint8 pixels, or float moments of latents with 8 channels.
        dtype: Of the images.
        labels: int64 [N]; None: without labels.
        label_dim: Number of classes; 0: without labels.
        encoder: Specification of the encoder; None: the usual one of such numbers.

    Raises:
        UserError: If the shape or the type is none that the network can be trained on.
    """

    def __init__(
        self, path: str | os.PathLike, shape: tuple[int, ...], dtype: np.dtype, labels: np.ndarray | None,
        label_dim: int, encoder: dict[str, Any] | None = None,
    ):  # fmt: skip
        self.path, self.name = Path(path), stem(path)
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        self.encoder = check_encoder(path, self.shape, self.dtype, encoder)
        self.labels = np.broadcast_to(np.int64(0), shape[:1]) if labels is None else labels
        self.label_dim = label_dim
        self.classes: list[str] | None = None

    @property
    def img_resolution(self) -> int:
        return self.shape[-1]

    @property
    def img_channels(self) -> int:
        """Channels that the network sees: a latent has half of its moments'."""
        return self.shape[1] // 2 if self.encoder["name"] == "vae" else self.shape[1]

    def raw(self, index: int) -> np.ndarray:
        """Image `index` as stored, [C, H, W]."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        return self.raw(index), int(self.labels[index])

    def without_labels(self) -> Self:
        """The same images with all classes 0 and label_dim 0."""
        other = copy.copy(self)
        other.labels, other.label_dim = np.broadcast_to(np.int64(0), self.shape[:1]), 0
        return other


def stem(path: str | os.PathLike) -> str:
    """What to call a dataset: the name of its folder, or of its ZIP without .zip."""
    return Path(path).resolve().name.removesuffix(".zip")


def check_encoder(
    path: str | os.PathLike, shape: tuple[int, ...], dtype: np.dtype, encoder: dict[str, Any] | None
) -> dict[str, Any]:
    """The encoder that goes with images of this shape [N, C, H, W] and type; raises a UserError if none does."""
    pixels = dtype == np.uint8 and len(shape) == 4 and shape[1] in (1, 3)
    latents = dtype in (np.float16, np.float32) and len(shape) == 4 and shape[1] == MOMENTS
    if not (pixels or latents) or shape[2] != shape[3] or 0 in shape:
        raise UserError(
            f"{path} holds images {dtype} {list(shape[1:])}; allowed are uint8 [1 or 3, S, S] and float16 or float32 "
            f"[{MOMENTS}, S, S] (moments of latents): make it anew with edm2lite data convert or encode"
        )
    default = {"name": "rgb", "scale": 127.5} if pixels else {"name": "vae"}
    if encoder is not None and encoder.get("name") != default["name"]:
        raise UserError(f"{path} names the encoder {encoder}, but {dtype} images need {default['name']}; make it anew")
    return encoder or default
