"""PNG files and contact sheets."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from edm2lite.errors import UserError
from edm2lite.files import atomic_path


def image_path(folder: str | Path, seed: int) -> Path:
    """Where the image of a seed lies: 000000/000123.png, a thousand to a folder."""
    return Path(folder) / f"{seed // 1000 * 1000:06d}" / f"{seed:06d}.png"


def held_seeds(folder: str | Path) -> list[int]:
    """Seeds whose images lie in a folder, in rising order; other files are not looked at."""
    names = (re.fullmatch(r"(\d{6,})\.png", path.name) for path in Path(folder).glob("[0-9]*/[0-9]*.png"))
    seeds = sorted(int(match[1]) for match in names if match)
    return [seed for seed in seeds if image_path(folder, seed).exists()]


def to_picture(pixels: np.ndarray) -> Image.Image:
    """PIL image of uint8 [C, H, W]; one channel is grey, three are RGB."""
    if pixels.shape[0] not in (1, 3):
        raise UserError(f"images have {pixels.shape[0]} channels; PNGs are written of 1 (grey) or 3 (RGB)")
    return Image.fromarray(pixels[0] if pixels.shape[0] == 1 else pixels.transpose(1, 2, 0))


def write_png(path: str | Path, pixels: np.ndarray) -> None:
    """Write uint8 [C, H, W] as PNG; whole or not at all if the process dies (a power cut is not waited for)."""
    with atomic_path(path, durable=False) as temporary:
        to_picture(pixels).save(temporary, format="PNG")


def read_png(path: str | Path) -> np.ndarray:
    """Read a PNG as uint8 [C, H, W]: grey has one channel, everything else becomes RGB.

    Raises:
        UserError: If the file is damaged.
    """
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture if picture.mode == "L" else picture.convert("RGB"))
    except (OSError, SyntaxError) as e:
        raise UserError(f"{path} cannot be read as an image ({e}); delete it and sample it again") from e
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


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
