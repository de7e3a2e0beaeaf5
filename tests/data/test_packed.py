"""The packed layout."""

import json
import os
import pickle
import shutil

import numpy as np
import pytest

from edm2lite.data.packed import PackedDataset, npy_header, write_array, write_description
from edm2lite.data.readat import Files
from edm2lite.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """Latents of 2x2 in three files, with labels."""
    images = np.arange(10 * 8 * 2 * 2, dtype=np.float16).reshape(10, 8, 2, 2)
    for i, part in enumerate(np.split(images, [4, 8])):
        write_array(tmp_path / f"images-{i:05d}.npy", part)
    write_array(tmp_path / "labels.npy", np.arange(10) % 3)
    counts = {"images-00000.npy": 4, "images-00001.npy": 4, "images-00002.npy": 2}
    write_description(tmp_path, counts, (8, 2, 2), "float16", 3, {"name": "vae"}, ["a", "b", "c"], {})
    return tmp_path


def test_images_labels_and_what_the_network_sees(folder):
    data = PackedDataset(folder)
    assert (len(data), data.img_channels, data.img_resolution, data.label_dim) == (10, 4, 2, 3), (
        "a latent has 4 channels"
    )
    assert data.encoder == {"name": "vae"} and data.classes == ["a", "b", "c"] and data.name == folder.name
    for i in range(10):
        image, label = data[i]
        assert (
            np.array_equal(image, np.arange(i * 32, (i + 1) * 32, dtype=np.float16).reshape(8, 2, 2)) and label == i % 3
        )
    with pytest.raises(IndexError):
        data[10]
    assert not data.without_labels().labels.any() and data.without_labels()[4][1] == 0 and data.label_dim == 3


def test_files_are_standard_npy(folder):
    for path in folder.glob("*.npy"):
        array = np.load(path, mmap_mode="r")
        assert path.read_bytes()[:128] == npy_header(array.shape, array.dtype)
    np.save(folder / "again.npy", np.load(folder / "images-00000.npy"))
    assert (folder / "again.npy").read_bytes() == (folder / "images-00000.npy").read_bytes()


def test_survives_pickling_and_forking(folder):
    data = PackedDataset(folder)
    first = data[9][0]
    assert np.array_equal(pickle.loads(pickle.dumps(data))[9][0], first)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if np.array_equal(data[9][0], first) else 1)
    assert os.waitpid(pid, 0)[1] == 0 and np.array_equal(data[9][0], first)


def test_few_file_descriptors_are_enough(folder, monkeypatch):
    monkeypatch.setattr("resource.getrlimit", lambda _: (2, 2))
    data = PackedDataset(folder)
    for i in (0, 9, 5, 1, 8, 4):
        assert data[i][0].flat[0] == 32 * i
        assert len(data._files._fds) == 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "dataset.json").unlink(), "run the same command again"),
        (lambda d: (d / "dataset.json").write_text("{"), "damaged"),
        (lambda d: (d / "dataset.json").write_text("[1]"), "damaged"),
        (lambda d: change(d, version=99), "update edm2lite"),
        (lambda d: change(d, shape=[9, 8, 2, 2]), "counts and shape differ"),
        (lambda d: change(d, shape=[10, 5, 2, 2]), "allowed are uint8"),
        (lambda d: change(d, encoder={"name": "rgb", "scale": 1.0}), "need vae"),
        (lambda d: (d / "labels.npy").unlink(), "labels.npy cannot be read"),
        (lambda d: write_array(d / "labels.npy", np.zeros(3)), "asks for int64"),
        (lambda d: os.truncate(d / "images-00002.npy", 150), "ends too soon"),
        (lambda d: shutil.copy(d / "images-00000.npy", d / "images-00002.npy"), "is not the file that dataset.json"),
    ],
)
def test_damage_is_told(folder, damage, message):
    damage(folder)
    with pytest.raises(UserError, match=message):
        PackedDataset(folder)[9]


def change(folder, **values):
    data = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(data | values))


def test_reads_beyond_one_system_call(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(bytes(range(100)))
    short = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, buffers, offset: short(fd, [buffers[0][:7]], offset))
    out = np.empty(50, np.uint8)
    Files([tmp_path / "a"]).read_into(0, 10, out)
    assert out.tolist() == list(range(10, 60))
