"""From the bytes of an image file to RGB pixels of the right size."""

import io
import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from edm2lite.data.crop import center_crop
from edm2lite.data.packed import npy_header
from edm2lite.data.prepare.sources import Item
from edm2lite.errors import UserError

_ORIENTATION = 0x0112  # EXIF tag
NOTES = ("not_rgb", "rotated", "enlarged")


class Rejected(Exception):  # noqa: N818 - no error of the program
    """An image file that cannot be read; the message says why."""


class Converted(NamedTuple):
    """An image on its way to a writer.

    Attributes:
        name, label: Of the item it was.
        image: uint8 or float [C, H, W]; None: it was rejected.
        file: The image as a member of a ZIP, if that is wanted: PNG of pixels, NPY of latents.
        notes: Which of `NOTES` hold.
        reason: Why it was rejected.
    """

    name: str
    label: int
    image: np.ndarray | None
    file: bytes = b""
    notes: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Converter:
    """What is done to every image; see `ConvertConfig` for size and exif. Goes to the workers.

    Attributes:
        zipped: Whether the images become members of a ZIP.
    """

    size: int | None
    exif: str
    zipped: bool

    def __call__(self, items: list[Item]) -> list[Converted]:
        return [self._one(item) for item in items]

    def _one(self, item: Item) -> Converted:
        content = item.where.load()
        try:
            pixels, notes = (
                decode(content, self.exif) if isinstance(content, bytes) else (content.transpose(1, 2, 0), ())
            )
            if self.size is not None:
                notes = (*notes, *(["enlarged"] if min(pixels.shape[:2]) < self.size else []))
                pixels = center_crop(pixels, self.size)
        except Rejected as e:
            return Converted(item.name, item.label, None, reason=str(e))
        if pixels.shape[0] != pixels.shape[1]:
            raise UserError(
                f"{item.name} is {pixels.shape[1]}x{pixels.shape[0]} pixels, not square; set --size to crop"
            )
        image = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        return Converted(item.name, item.label, image, as_member(image) if self.zipped else b"", notes)


def decode(content: bytes, exif: str = "ignore") -> tuple[np.ndarray, tuple[str, ...]]:
    """An image file as RGB.

    Args:
        content: Of the file, in whatever format Pillow knows.
        exif: "ignore" or "apply" the orientation that its EXIF data ask for.

    Returns:
        uint8 [H, W, 3], and which of the `NOTES` hold: not_rgb, rotated.

    Raises:
        Rejected: If it cannot be read to its end.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # large, but not so large that Pillow refuses
            with Image.open(io.BytesIO(content)) as picture:
                rotated, mode = _orientation(picture) != 1, picture.mode
                picture.load()
                upright = ImageOps.exif_transpose(picture) if exif == "apply" and rotated else picture
                pixels = np.array(_rgb(upright))
    except UnidentifiedImageError as e:
        raise Rejected("not an image" if content else "empty file") from e
    except MemoryError:
        raise
    except Exception as e:  # Pillow raises whatever its decoders do
        raise Rejected(f"{type(e).__name__}: {' '.join(str(e).split())}") from e
    return pixels, tuple(note for note, holds in zip(NOTES, (mode != "RGB", rotated), strict=False) if holds)


def _orientation(picture: Any) -> int:
    """What EXIF says about the upright position, 1 ... 8; 1 where it is unreadable."""
    try:
        return picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # broken EXIF data are no reason to lose the image
        return 1


def _rgb(picture: Any) -> Any:
    """Any mode as RGB; of 16 bits the upper 8, and transparency is dropped, as published pipelines do."""
    from PIL import Image

    if picture.mode.startswith("I"):
        levels = np.clip(np.asarray(picture).astype(np.int64), 0, 65535) >> 8
        return Image.fromarray(levels.astype(np.uint8)).convert("RGB")
    if picture.mode == "F":
        raise Rejected("floating point pixels")
    return (picture.convert("RGBA") if picture.mode in ("P", "PA") else picture).convert("RGB")


def as_member(image: np.ndarray) -> bytes:
    """A file for a ZIP: PNG of uint8 [1 or 3, H, W], NPY of floats."""
    if image.dtype != np.uint8:
        return npy_header(image.shape, image.dtype) + image.tobytes()
    from PIL import Image

    file = io.BytesIO()
    picture = Image.fromarray(image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0))
    picture.save(file, format="PNG", compress_level=1)  # twice as fast as the default, a few per cent larger
    return file.getvalue()
