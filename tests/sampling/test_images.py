"""Names and bytes of images and latents."""

import numpy as np
import pytest

from edm2lite.errors import UserError
from edm2lite.sampling.images import LATENTS, PIXELS, held_seeds, image_path, member_name, read_png, write_png


def test_names():
    assert member_name(123) == "000000/000123.png" and member_name(54321, ".npy") == "054000/054321.npy"
    assert member_name(12345678) == "12345000/12345678.png"


@pytest.mark.parametrize("shape", [(1, 5, 4), (3, 5, 4)])
def test_png_keeps_pixels(shape, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    write_png(tmp_path / "a.png", pixels)
    assert np.array_equal(read_png(tmp_path / "a.png"), pixels)
    assert (tmp_path / "a.png").read_bytes() == PIXELS.encode(pixels)


def test_npy_keeps_every_bit():
    latent = np.random.default_rng(0).standard_normal((4, 3, 3)).astype(np.float32)
    again = LATENTS.decode(LATENTS.encode(latent.transpose(0, 2, 1)), "a.npy")
    assert again.dtype == np.float32 and np.array_equal(again.transpose(0, 2, 1), latent)


def test_damage_names_the_file():
    for kind in (PIXELS, LATENTS):
        content = kind.encode(np.zeros((1, 9, 9), np.uint8))
        for damaged in (content[:40], b""):
            with pytest.raises(UserError, match="seed 7"):
                kind.decode(damaged, "seed 7")


def test_other_files_are_no_seeds(tmp_path):
    for seed in (1000, 7):
        write_png(image_path(tmp_path, seed), np.zeros((1, 2, 2), np.uint8))
    for name in ("000000/8.png", "000000/001000.png", "000000/.000009.png.host.1.tmp", "notes/a.png", "contact.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert held_seeds(tmp_path) == [7, 1000] and held_seeds(tmp_path, ".npy") == []
