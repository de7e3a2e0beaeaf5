"""Arrays as pictures, and many of them on one sheet."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from edm2lite.errors import UserError


def to_picture(pixels: np.ndarray) -> Image.Image:
    """PIL image of uint8 [C, H, W]; one channel is grey, three are RGB."""
    if pixels.shape[0] not in (1, 3):
        raise UserError(f"images have {pixels.shape[0]} channels; PNGs are written of 1 (grey) or 3 (RGB)")
    return Image.fromarray(pixels[0] if pixels.shape[0] == 1 else pixels.transpose(1, 2, 0))


def sheet(images: Sequence[np.ndarray], columns: int | None = None, least_side: int = 48) -> np.ndarray:
    """Grid of images of one size, small ones enlarged pixel by pixel; uint8 [C,H,W] each -> uint8 [C,H,W]."""
    columns = columns or math.ceil(math.sqrt(len(images)))
    channels, height, width = images[0].shape
    zoom, gap = max(1, math.ceil(least_side / width)), 2
    rows = math.ceil(len(images) / columns)
    grid = np.full((channels, rows * (height * zoom + gap) + gap, columns * (width * zoom + gap) + gap), 255, np.uint8)
    for i, image in enumerate(images):
        y, x = (gap + n * (side * zoom + gap) for n, side in zip(divmod(i, columns), (height, width), strict=True))
        grid[:, y : y + height * zoom, x : x + width * zoom] = image.repeat(zoom, axis=1).repeat(zoom, axis=2)
    return grid
