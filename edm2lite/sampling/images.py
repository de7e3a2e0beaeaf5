"""PNG files by seed."""

import re
from pathlib import Path

import numpy as np
from PIL import Image

from edm2lite.data.sheets import to_picture
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
