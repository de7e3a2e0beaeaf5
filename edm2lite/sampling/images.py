"""Images and latents by seed: what their files are called, and their bytes as PNG and NPY."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from edm2lite.data.sheets import to_picture
from edm2lite.errors import UserError
from edm2lite.files import atomic_path


def member_name(seed: int, suffix: str = ".png") -> str:
    """Name of a seed's file: 000000/000123.png, a thousand to a folder."""
    return f"{seed // 1000 * 1000:06d}/{seed:06d}{suffix}"


def image_path(folder: str | Path, seed: int, suffix: str = ".png") -> Path:
    """Where the image of a seed lies."""
    return Path(folder) / member_name(seed, suffix)


def held_seeds(folder: str | Path, suffix: str = ".png") -> list[int]:
    """Seeds whose images lie in a folder, in rising order; other files are not looked at."""
    found = []
    for path in Path(folder).glob(f"[0-9]*/[0-9]*{suffix}"):
        seed = int(path.stem) if re.fullmatch(r"[0-9]{6,}", path.stem) else -1
        if f"{path.parent.name}/{path.name}" == member_name(seed, suffix):
            found.append(seed)
    return sorted(found)


def encode_png(pixels: np.ndarray) -> bytes:
    """PNG of uint8 [C, H, W]."""
    file = io.BytesIO()
    to_picture(pixels).save(file, format="PNG")
    return file.getvalue()


def decode_png(content: bytes, name: str | Path) -> np.ndarray:
    """Pixels of a PNG, uint8 [C, H, W], grey (C = 1) or RGB.

    Raises:
        UserError: If the content is damaged, or of another mode: transparency, palettes and 16 bits have no one meaning.
    """
    try:
        with Image.open(io.BytesIO(content)) as picture:
            mode, pixels = picture.mode, np.asarray(picture)
    except (OSError, SyntaxError) as e:
        raise UserError(f"{name} cannot be read as an image ({e}); delete it and sample it again") from e
    if mode not in ("L", "RGB"):
        raise UserError(f"{name} is a picture of mode {mode}, not RGB or grey (L) of 8 bits; convert it, or remove it")
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def encode_npy(array: np.ndarray) -> bytes:
    """NPY of an array."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
    return file.getvalue()


def decode_npy(content: bytes, name: str | Path) -> np.ndarray:
    """Array of an NPY; a UserError if it is damaged."""
    try:
        return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError) as e:
        raise UserError(f"{name} cannot be read as an array ({e}); delete it and sample it again") from e


class Kind(NamedTuple):
    """What is kept of every seed.

    Attributes:
        name: images or latents; also of the files that hold many.
        suffix: Of the files of one seed.
        encode, decode: Between an array [C, H, W] and the bytes of such a file; `decode` takes its name, for errors.
        channels_last: Whether an NPZ holds [N, H, W, C] (as ADM's does) or [N, C, H, W].
    """

    name: str
    suffix: str
    encode: Callable[[np.ndarray], bytes]
    decode: Callable[[bytes, str], np.ndarray]
    channels_last: bool


PIXELS = Kind("images", ".png", encode_png, decode_png, True)
LATENTS = Kind("latents", ".npy", encode_npy, decode_npy, False)


def write_png(path: str | Path, pixels: np.ndarray) -> None:
    """Write uint8 [C, H, W] as PNG; whole or not at all if the process dies (a power cut is not waited for)."""
    write_whole(path, encode_png(pixels))


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a small file, whole or not at all if the process dies."""
    with atomic_path(path, durable=False) as temporary:
        temporary.write_bytes(content)


def read_png(path: str | Path) -> np.ndarray:
    """Read a PNG as uint8 [C, H, W]; see `decode_png`."""
    return decode_png(Path(path).read_bytes(), path)
