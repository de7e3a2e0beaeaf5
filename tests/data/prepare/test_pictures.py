"""From files to RGB pixels."""

import io

import numpy as np
import pytest
from PIL import Image

from edm2lite.data.crop import center_crop
from edm2lite.data.prepare.pictures import Converter, Rejected, as_member, decode
from edm2lite.data.prepare.sources import Content, Item
from edm2lite.errors import UserError

RAMP = (np.arange(64).reshape(8, 8) * 4).astype(np.uint8)


def file(image, kind="PNG", **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def grey(levels=RAMP):
    return np.repeat(levels[:, :, None], 3, 2)


MODES = {
    "L": Image.fromarray(RAMP),
    "RGBA": Image.fromarray(np.concatenate([grey(), RAMP[:, :, None]], 2)),
    "LA": Image.fromarray(RAMP).convert("LA"),
    "P": Image.fromarray(RAMP).convert("P"),
    "I;16": Image.fromarray(RAMP.astype(np.uint16) * 257),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_rgb(mode):
    pixels, notes = decode(file(MODES[mode]))
    assert pixels.dtype == np.uint8 and np.array_equal(pixels, grey()) and notes == ("not_rgb",)


def test_cmyk_and_one_bit():
    white = decode(file(Image.new("CMYK", (8, 8)), "JPEG"))[0]
    assert white.shape == (8, 8, 3) and white.min() > 250
    assert decode(file(Image.new("1", (8, 8), 1)))[0].min() == 255


def test_a_palette_with_transparency_does_not_warn():
    picture = Image.fromarray(RAMP).convert("P")
    assert np.array_equal(decode(file(picture, transparency=bytes(range(256))))[0], grey())


def test_exif_rotation_is_ignored_or_applied():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = file(Image.fromarray(grey()), exif=exif)
    stored, notes = decode(content)
    assert np.array_equal(stored, grey()) and notes == ("rotated",)
    upright, notes = decode(content, "apply")
    assert np.array_equal(upright, np.rot90(grey(), -1)) and notes == ("rotated",)


def bomb():
    return file(Image.new("1", (20000, 20000)))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"text", "not an image"),
        (file(Image.fromarray(grey()), "JPEG")[:-9], "truncated"),
        (file(Image.fromarray(grey()))[:50], "OSError|SyntaxError|truncated"),
        (bomb(), "DecompressionBombError"),
        (file(Image.fromarray(RAMP.astype(np.float32)), "TIFF"), "floating point"),
    ],
)
def test_what_cannot_be_read_is_rejected_with_a_reason(content, reason):
    with pytest.raises(Rejected, match=reason):
        decode(content)


def one(content, size, **options):
    return Converter(size, "ignore", **{"zipped": False} | options)([Item("a", 0, Content(content))])[0]


def test_crop_is_the_published_one(golden):
    g = golden("center_crop")
    for case in range(4):
        source = g[f"{case}/in"].numpy()
        image = one(file(Image.fromarray(source)), 64).image
        assert np.array_equal(image.transpose(1, 2, 0), center_crop(source, 64))
        assert np.abs(image.transpose(1, 2, 0).astype(int) - g[f"{case}/out"].numpy()).max() <= 1


def test_enlarged_images_are_noted_and_unsquare_ones_need_a_size():
    content = file(Image.new("RGB", (9, 8)))
    assert one(content, 16).notes == ("enlarged",) and one(content, 8).notes == ()
    with pytest.raises(UserError, match="a is 9x8 pixels, not square; set --size"):
        one(content, None)


def test_members_are_lossless():
    image = np.random.default_rng(0).integers(0, 256, (3, 9, 9), dtype=np.uint8)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(as_member(image)))).transpose(2, 0, 1), image)
    moments = np.random.default_rng(0).standard_normal((8, 4, 4)).astype(np.float32)
    assert np.array_equal(np.load(io.BytesIO(as_member(moments))), moments)
    assert one(file(Image.fromarray(grey())), None, zipped=True).file.startswith(b"\x89PNG")
