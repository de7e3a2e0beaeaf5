"""A dataset that fits in memory."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ImageArrays:
    """Images and classes as arrays.

    Attributes:
        name: Name of the dataset.
        images: uint8, [N, C, H, W], H = W.
        labels: int64, [N], in 0 ... label_dim - 1.
        label_dim: Number of classes; 0: without labels.
        encoder: Specification of the encoder, see `edm2lite.data.encoders.make_encoder`.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    label_dim: int
    encoder: dict[str, Any]

    @property
    def img_resolution(self) -> int:
        return self.images.shape[-1]

    @property
    def img_channels(self) -> int:
        return self.images.shape[1]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.images[index], int(self.labels[index])

    def without_labels(self) -> "ImageArrays":
        """The same images with all classes 0 and label_dim 0."""
        return replace(self, labels=np.zeros_like(self.labels), label_dim=0)
