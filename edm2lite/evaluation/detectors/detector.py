"""What a feature extractor is."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from edm2lite.network.precision import DTYPES


class Detector(nn.Module, ABC):
    """Turns images into features; `detector(images)` is float32 [B, dim] for uint8 [B, C, H, W] with C = 1 or 3.

    Features of an image do not depend on the other images of its batch. It computes without gradients, in float32 unless
    `halved` made it, on the device of its parameters, to which it moves the images.

    Attributes:
        name: As metrics name it: inception, dinov2, digits, patches, or MODULE:FACTORY.
        title: For people and provenance, with a version: "digits-classifier-v1".
        dim: Number of features D.
        preprocessing: Identity of everything before the network: "tf1-bilinear-299" ...; two that differ are not comparable.
        weights_sha256: Hash of its weights.
        image_shape: The only shape (C, H, W) it takes; None: any size, RGB, or grey, which is repeated to RGB.
        precision: What its layers compute in, fp32, bf16 or fp16.
        in_fp32: Names of layers that compute in float32 nevertheless: those after the features, and normalisations before them.
    """

    name: str
    title: str
    dim: int
    preprocessing: str
    weights_sha256: str
    image_shape: tuple[int, int, int] | None = None
    precision: str = "fp32"
    in_fp32: tuple[str, ...] = ()

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor: ...

    def logits(self, features: Tensor) -> Tensor | None:
        """Class logits [B, K] of features [B, dim], for the Inception Score; None: it is no classifier."""
        return None

    def cast(self, x: Tensor) -> Tensor:
        """To what its layers compute in; half precision images [B, C, H, W] in channels_last, as tensor cores take them."""
        if self.precision == "fp32":
            return x
        layout = torch.channels_last if x.ndim == 4 else torch.preserve_format
        return x.to(DTYPES[self.precision], memory_format=layout)

    @property
    def identity(self) -> dict[str, str]:
        """What two detectors must share for their features to be comparable."""
        half = {} if self.precision == "fp32" else {"precision": self.precision}
        whole = {"detector": self.title, "preprocessing": self.preprocessing, "weights_sha256": self.weights_sha256}
        return whole | half
