"""Datasets made on the fly, in a folder that is removed afterwards."""

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from edm2lite.data.packed import HEADER, npy_header, write_array, write_description
from edm2lite.data.prepare.pictures import as_member
from edm2lite.data.prepare.zipwriter import ZipWriter


@contextmanager
def zip_writer(path: Path) -> Iterator[ZipWriter]:
    with open(path, "wb+") as archive, tempfile.TemporaryFile() as directory:
        writer = ZipWriter(archive, directory, 0)
        yield writer
        writer.add_file("dataset.json", io.BytesIO(b'{"labels": null}'))
        writer.close()


def write(folder: Path, name: str, images: np.ndarray) -> tuple[Path, Path]:
    """The same images packed and zipped."""
    packed, encoder = folder / name, {"name": "vae"} if images.dtype != np.uint8 else {"name": "rgb", "scale": 127.5}
    packed.mkdir()
    write_array(packed / "images-00000.npy", images)
    write_description(
        packed, {"images-00000.npy": len(images)}, images.shape[1:], str(images.dtype), 0, encoder, None, {}
    )
    with zip_writer(folder / f"{name}.zip") as f:
        for i, image in enumerate(images):
            f.add(f"{i // 1000:05d}/img{i:08d}.{'png' if images.dtype == np.uint8 else 'npy'}", as_member(image))
    return packed, folder / f"{name}.zip"


def photographs(count: int) -> np.ndarray:
    """uint8 [count, 3, 64, 64]: about as hard to compress as photographs."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    smooth = [np.asarray(Image.fromarray(c).resize((64, 64), Image.Resampling.BICUBIC)) for c in coarse]
    noisy = np.stack(smooth) + rng.normal(0, 5, (count, 64, 64, 3))
    return np.ascontiguousarray(noisy.clip(0, 255).astype(np.uint8).transpose(0, 3, 1, 2))


def many(folder: Path, count: int) -> tuple[Path, Path]:
    """Datasets of many images of one pixel; the packed one is a hole of 64-pixel images, which takes no room."""
    packed, per_file, shape, counts = folder / f"many{count}", 4096, (3, 64, 64), {}
    packed.mkdir()
    for start in range(0, count, per_file):
        name, n = f"images-{start // per_file:05d}.npy", min(per_file, count - start)
        with open(packed / name, "wb") as f:
            f.write(npy_header((n, *shape), np.dtype(np.uint8)))
            f.truncate(HEADER + n * 3 * 64 * 64)
        counts[name] = n
    write_description(packed, counts, shape, "uint8", 0, {"name": "rgb", "scale": 127.5}, None, {})
    dot = as_member(np.zeros((3, 1, 1), np.uint8))
    with zip_writer(folder / f"many{count}.zip") as f:
        for i in range(count):
            f.add(f"{i // 1000:05d}/img{i:08d}.png", dot)
    return packed, folder / f"many{count}.zip"
