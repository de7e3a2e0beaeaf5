"""Detectors that tests name as MODULE:FACTORY."""

import torch
from torch import Tensor, nn


class Patchwork(nn.Module):
    """Features [B, 6]: means of thirds of the rows and of the columns, of images of any size."""

    dim = 6

    def forward(self, images: Tensor) -> Tensor:
        x = images.float().mean(dim=1)
        rows, columns = x.mean(dim=2), x.mean(dim=1)
        return torch.stack([part.mean(dim=1) for side in (rows, columns) for part in side.chunk(3, dim=1)], dim=1)


class Broken(Patchwork):
    """Its features of dark images are NaN."""

    def forward(self, images: Tensor) -> Tensor:
        dark = images.flatten(1).max(dim=1).values == 0
        return super().forward(images).masked_fill(dark[:, None], torch.nan)


def patchwork() -> nn.Module:
    return Patchwork()


def broken() -> nn.Module:
    return Broken()
