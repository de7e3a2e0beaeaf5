"""Images to be measured, from whatever holds them."""

import json

import numpy as np
import pytest

from edm2lite.errors import UserError
from edm2lite.sampling.images import image_path, write_png
from edm2lite.sampling.reading import open_images
from tests.sampling.test_stores import fill, made

SEEDS = [0, 3, 7, 1000]


@pytest.mark.parametrize("form", ["png", "zip", "npz"])
def test_the_same_images_from_every_format(form, tmp_path):
    fill(tmp_path, form, [SEEDS[2:], SEEDS[:2]], latents=True, channels=3)
    for name in ("contact_sheet.png", "weights_sheet.png", "compare_sheet.png"):
        write_png(tmp_path / name, np.zeros((1, 99, 99), np.uint8))
    for path in [tmp_path, *tmp_path.glob("images.*")]:
        images = open_images(path)
        assert len(images.names) == 4 and "7" in images.names[2]
        for i, pixels in enumerate(made(SEEDS, channels=3).pixels):
            assert np.array_equal(images.read(i), pixels.numpy())


def test_a_flat_folder_without_its_sheets(tmp_path):
    for name in ("contact_sheet", "weights_sheet", "compare_sheet", "b", "a"):
        write_png(tmp_path / f"{name}.png", np.full((1, 2, 2), ord(name[0]), np.uint8))
    images = open_images(tmp_path)
    assert len(images.names) == 2 and images.read(0)[0, 0, 0] == ord("a") and images.labels is None
    write_png(tmp_path / "b.png", np.zeros((1, 2, 3), np.uint8))
    assert open_images(tmp_path).fingerprint != images.fingerprint


def test_what_cannot_be_measured(tmp_path):
    write_png(image_path(tmp_path, 0), np.zeros((1, 2, 2), np.uint8))
    for manifest in (json.dumps({"status": "incomplete"}), "{", "[]"):
        (tmp_path / "manifest.json").write_text(manifest)
        with pytest.raises(UserError, match="is not complete"):
            open_images(tmp_path)
    with pytest.raises(UserError, match=r"is no folder, .zip or .npz"):
        open_images(tmp_path / "nothing")
    np.savez(tmp_path / "a.npz", arr_0=np.zeros((2, 3, 3, 1), np.float32))
    with pytest.raises(UserError, match="arr_0 is float32"):
        open_images(tmp_path / "a.npz")
