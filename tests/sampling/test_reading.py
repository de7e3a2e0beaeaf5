"""Images to be measured, from whatever holds them."""

import json
import os
import time
import zipfile

import numpy as np
import pytest

from edm2lite.errors import UserError
from edm2lite.sampling.images import encode_png, image_path, write_png
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


def with_manifest(folder, seeds=SEEDS, **more):
    for seed in seeds:
        write_png(image_path(folder, seed), np.full((1, 2, 2), seed % 255, np.uint8))
    manifest = {"status": "complete", "images_sha256": {str(seed): f"hash {seed}" for seed in SEEDS}, **more}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return open_images(folder)


def test_a_manifest_identifies_images_wherever_they_lie_until_one_is_newer(tmp_path):
    labels = {str(seed): seed % 10 for seed in SEEDS}
    images = [with_manifest(tmp_path / name, labels=labels) for name in ("a", "b")]
    assert images[0].fingerprint == images[1].fingerprint and images[0].labels == [0, 3, 7, 0]
    assert with_manifest(tmp_path / "b").fingerprint != images[0].fingerprint, "its classes are other ones: unknown"
    time.sleep(0.02)
    path = image_path(tmp_path / "a", 7)
    write_png(path, np.zeros((1, 2, 2), np.uint8))
    os.utime(path, (1, 1))  # as if an archive was unpacked over it
    changed = open_images(tmp_path / "a")
    assert changed.fingerprint != images[0].fingerprint and changed.labels == images[0].labels


def test_a_manifest_lists_what_is_there(tmp_path):
    with pytest.raises(UserError, match=r"lacks 1 of the 4 images of its manifest.json \(001000/001000.png"):
        with_manifest(tmp_path, SEEDS[:3])
    write_png(image_path(tmp_path, 1000), np.zeros((1, 2, 2), np.uint8))
    write_png(tmp_path / "mine" / "a.png", np.zeros((1, 2, 2), np.uint8))
    assert len(open_images(tmp_path).names) == 5, "what somebody has put beside them counts, without a class"


@pytest.mark.parametrize("form", ["zip", "npz"])
def test_archives_of_equal_size_and_time_are_told_apart(form, tmp_path):
    found = []
    for name, value in (("a", 1), ("b", 2), ("c", 1)):
        path = tmp_path / name / f"images.{form}"
        path.parent.mkdir()
        pixels = np.full((2, 3, 3, 1), value, np.uint8)
        if form == "npz":
            np.savez(path, arr_0=pixels)
        else:
            with zipfile.ZipFile(path, "w") as archive:
                for i in range(2):
                    archive.writestr(zipfile.ZipInfo(f"{i}.png"), encode_png(pixels[i].transpose(2, 0, 1)))
        os.utime(path, (1, 1))
        found.append((open_images(path).fingerprint, path.stat().st_size))
    assert found[0] == found[2] and found[0][0] != found[1][0] and found[0][1] == found[1][1]


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
