"""Sources and datasets for the tests of data."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edm2lite.config import ConvertConfig
from edm2lite.data.prepare.convert import convert
from tests.data.vae import tiny_vae

CLASSES = ["n01440764", "n01443537", "n02110341"]
UNREADABLE = ["n01440764/bad_corrupt.JPEG", "n01440764/bad_empty.JPEG", "n01440764/bad_truncated.JPEG"]
SIZE = 32


def picture(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


@pytest.fixture(scope="session")
def imagenet(tmp_path_factory) -> Path:
    """A folder like ILSVRC2012 from Kaggle: 3 classes, 54 plain images, 6 odd ones, 3 unreadable ones."""
    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("source") / "imagenet"
    train = root / "ILSVRC" / "Data" / "CLS-LOC" / "train"
    for label, name in enumerate(CLASSES):
        (train / name).mkdir(parents=True)
        for i in range(18):
            (train / name / f"{name}_{i}.JPEG").write_bytes(jpeg(picture(rng, 60 + i, 50 + 30 * label)))
    (root / "ILSVRC" / "ImageSets").mkdir()
    odd, truncated = train / CLASSES[0], jpeg(picture(rng, 99, 99), quality=100)
    exif = Image.Exif()
    exif[0x0112] = 6
    for file, content in {
        "a_cmyk.JPEG": jpeg(picture(rng, 50, 60).convert("CMYK")),
        "a_grey.JPEG": jpeg(picture(rng, 50, 60).convert("L")),
        "a_turned.JPEG": jpeg(picture(rng, 90, 60), exif=exif),
        "a_tiny.JPEG": jpeg(picture(rng, 9, 12)),
        "bad_truncated.JPEG": truncated[: len(truncated) // 2],
        "bad_corrupt.JPEG": b"no image",
        "bad_empty.JPEG": b"",
        ".DS_Store": b"hidden",
    }.items():
        (odd / file).write_bytes(content)
    picture(rng, 50, 60).save(odd / "a_png.JPEG", "PNG")
    picture(rng, 50, 60).convert("P").save(odd / "a_palette.JPEG", "PNG")
    return root


@pytest.fixture(scope="session")
def packed(imagenet, tmp_path_factory) -> Path:
    """The images as a packed folder of 32x32 pixels."""
    dest = tmp_path_factory.mktemp("packed") / "data"
    convert(ConvertConfig(source=str(imagenet), dest=str(dest), size=SIZE, workers=1))
    return dest


@pytest.fixture(scope="session")
def zipped(imagenet, tmp_path_factory) -> Path:
    """The same as a ZIP in NVIDIA's layout."""
    dest = tmp_path_factory.mktemp("zipped") / "data.zip"
    convert(ConvertConfig(source=str(imagenet), dest=str(dest), size=SIZE, workers=1))
    return dest


@pytest.fixture
def small_chunks(monkeypatch) -> None:
    """Chunks of a few images, so that small datasets have several."""
    for module in ("convert", "encode"):
        monkeypatch.setattr(f"edm2lite.data.prepare.{module}.CHUNK", 7)


@pytest.fixture(scope="session")
def vae(tmp_path_factory) -> str:
    """`tiny_vae` in a folder."""
    folder = tmp_path_factory.mktemp("vae")
    tiny_vae().save_pretrained(folder, safe_serialization=True)
    return str(folder)
