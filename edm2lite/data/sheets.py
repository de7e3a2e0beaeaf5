"""Arrays as pictures, many of them on one sheet, with captions, and animated."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from edm2lite.errors import UserError

GAP = 2  # white pixels between images
_LEAST_FONT = 14  # pixels


def to_picture(pixels: np.ndarray) -> Image.Image:
    """PIL image of uint8 [C, H, W]; one channel is grey, three are RGB."""
    if pixels.shape[0] not in (1, 3):
        raise UserError(f"images have {pixels.shape[0]} channels; PNGs are written of 1 (grey) or 3 (RGB)")
    return Image.fromarray(pixels[0] if pixels.shape[0] == 1 else pixels.transpose(1, 2, 0))


def sheet(images: Sequence[np.ndarray], columns: int | None = None, least_side: int = 48) -> np.ndarray:
    """Grid of images of one size, small ones enlarged pixel by pixel; uint8 [C,H,W] each -> uint8 [C,H,W]."""
    columns = columns or math.ceil(math.sqrt(len(images)))
    channels, height, width = images[0].shape
    zoom, gap = max(1, math.ceil(least_side / width)), GAP
    rows = math.ceil(len(images) / columns)
    grid = np.full((channels, rows * (height * zoom + gap) + gap, columns * (width * zoom + gap) + gap), 255, np.uint8)
    for i, image in enumerate(images):
        y, x = (gap + n * (side * zoom + gap) for n, side in zip(divmod(i, columns), (height, width), strict=True))
        grid[:, y : y + height * zoom, x : x + width * zoom] = image.repeat(zoom, axis=1).repeat(zoom, axis=2)
    return grid


def row_sheet(rows: Sequence[tuple[str, Sequence[np.ndarray]]]) -> np.ndarray:
    """Rows of equally many images of one size, each with a caption on its left; uint8 [C,H,W] each -> uint8 [C,H,W]."""
    grid = sheet([image for _, images in rows for image in images], columns=len(rows[0][1]))
    pitch = (grid.shape[1] - GAP) // len(rows)
    font = _font(pitch)
    margin = max(font.getlength(caption) for caption, _ in rows) + font.size  # half of the font's size on either side
    strip = _canvas(grid, grid.shape[1], math.ceil(margin))
    draw = ImageDraw.Draw(strip)
    for i, (caption, _) in enumerate(rows):
        draw.text((font.size / 2, GAP + (i + 0.5) * pitch - GAP / 2), caption, "black", font, anchor="lm")
    return np.concatenate([_array(strip), grid], axis=2)


def captioned(pictures: Sequence[tuple[str, np.ndarray]]) -> list[np.ndarray]:
    """Pictures of one size, each with its caption above it, and wide enough for the longest; uint8 [C,H,W] each."""
    channels, height, width = pictures[0][1].shape
    font = _font(width // 4)
    top = math.ceil(font.size * 1.6)
    wide = max(width, *(math.ceil(font.getlength(caption)) + 2 * GAP for caption, _ in pictures))
    results = []
    for caption, picture in pictures:
        result = np.full((channels, top + height, wide), 255, np.uint8)
        result[:, top:, :width] = picture
        strip = _canvas(picture, top, wide)
        ImageDraw.Draw(strip).text((GAP, top / 2), caption, "black", font, anchor="lm")
        result[:, :top] = _array(strip)
        results.append(result)
    return results


def write_gif(path: Path, frames: Sequence[np.ndarray], milliseconds: Sequence[int]) -> None:
    """Write frames, uint8 [C, H, W], as an animated GIF that repeats; each stays for its time."""
    pictures = [to_picture(frame) for frame in frames]
    pictures = [picture if picture.mode == "L" else _of_256_colours(picture) for picture in pictures]
    pictures[0].save(path, format="GIF", save_all=True, append_images=pictures[1:], duration=list(milliseconds), loop=0)


def _of_256_colours(picture: Image.Image) -> Image.Image:
    """Dithered, which Pillow does for a given palette alone."""
    return picture.quantize(palette=picture.quantize(256), dither=Image.Dither.FLOYDSTEINBERG)


def _font(room: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, of a size that goes with `room` pixels."""
    font = ImageFont.load_default(max(_LEAST_FONT, room // 8))
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise UserError("captions need Pillow with FreeType; install Pillow's own wheel: pip install --force pillow")
    return font


def _canvas(like: np.ndarray, height: int, width: int) -> Image.Image:
    """White picture, grey or RGB as an array [C, H, W] is."""
    return to_picture(np.full((like.shape[0], height, width), 255, np.uint8))


def _array(picture: Image.Image) -> np.ndarray:
    """uint8 [C, H, W] of a picture."""
    pixels = np.asarray(picture)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
