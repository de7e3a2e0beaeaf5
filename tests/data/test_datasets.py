"""The bundled datasets."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from edm2lite.config import ConvertConfig, DataConfig
from edm2lite.data.datasets import check_dataset, fingerprint, load_dataset
from edm2lite.data.encoders import make_encoder
from edm2lite.data.prepare.convert import convert
from edm2lite.errors import UserError
from tests.data.conftest import CLASSES


@pytest.mark.parametrize(
    ("name", "shape", "classes"), [("digits", (1797, 1, 8, 8), 10), ("patches", (7700, 3, 16, 16), 8)]
)
def test_shape_classes_and_scale(name, shape, classes):
    data = load_dataset(DataConfig(name=name))
    assert data.images.shape == shape and data.images.dtype == np.uint8
    assert (len(data), data.img_channels, data.img_resolution, data.label_dim) == (
        shape[0],
        shape[1],
        shape[2],
        classes,
    )
    assert np.bincount(data.labels).min() > 0.08 * len(data) and data.labels.max() == classes - 1
    encoded = make_encoder(data.encoder).encode(torch.from_numpy(data.images))
    assert float(encoded.std()) == pytest.approx(0.5, abs=0.01), "the encoder brings the data to sigma_data"
    assert torch.equal(make_encoder(data.encoder).decode(encoded), torch.from_numpy(data.images))
    image, label = data[5]
    assert image.shape == shape[1:] and isinstance(label, int)


def test_patch_classes_are_photograph_and_quadrant():
    data = load_dataset(DataConfig(name="patches"))
    columns = 77
    top_left, top_right, bottom_left = data.labels[0], data.labels[columns - 1], data.labels[3850 - columns]
    assert (top_left, top_right, bottom_left) == (0, 1, 2) and data.labels[3850] == 4


def test_without_labels():
    data = load_dataset(DataConfig(name="digits", conditional=False))
    assert data.label_dim == 0 and not data.labels.any()


def test_unknown_name_lists_the_known():
    with pytest.raises(UserError, match=r"unknown data\.name 'digist'; choose one of: digits, patches"):
        load_dataset(DataConfig(name="digist"))


def test_a_path_is_opened_and_called_by_its_name(packed, zipped):
    for path, name in ((packed, "data"), (zipped, "data")):
        data = load_dataset(DataConfig(path=str(path)))
        assert (len(data), data.label_dim, data.img_channels, data.name) == (60, 3, 3, name)
        assert load_dataset(DataConfig(path=str(path), name="mine")).name == "mine"
        assert load_dataset(DataConfig(path=str(path), conditional=False)).label_dim == 0


def test_the_fingerprint_is_the_datas_wherever_they_lie(packed, zipped):
    def of(**options):
        return fingerprint(load_dataset(DataConfig(**options)))

    assert of(path=str(packed)) == of(path=str(zipped)) and len(of(name="digits")) == 64
    others = [of(name="digits"), of(name="patches"), of(name="digits", conditional=False), of(path=str(packed))]
    assert len(set(others)) == 4


def test_what_cannot_be_opened(tmp_path, packed):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"something else, of some length")
    for options, message in (
        ({}, "no dataset was named; set data.name to one of digits, patches, or data.path"),
        ({"path": str(tmp_path / "none")}, "does not exist; make one with edm2lite data convert"),
        ({"path": str(tmp_path / "folder")}, r"holds no dataset\.json.* run the same command again"),
        ({"path": str(tmp_path / "file")}, "is damaged: it has no end record"),
    ):
        with pytest.raises(UserError, match=message):
            check_dataset(DataConfig(**options))


def test_classes_that_are_not_there(imagenet, tmp_path):
    source = imagenet / "ILSVRC" / "Data" / "CLS-LOC" / "train" / CLASSES[1]
    for dest in (tmp_path / "flat", tmp_path / "flat.zip"):
        convert(ConvertConfig(source=str(source), dest=str(dest), size=8, workers=1))
        with pytest.raises(UserError, match=r"has no labels, .* set --data\.conditional false"):
            load_dataset(DataConfig(path=str(dest)))
        assert load_dataset(DataConfig(path=str(dest), conditional=False)).label_dim == 0


def test_checking_needs_no_torch(packed, zipped, tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('not yet')")
    for path in (packed, zipped):
        program = f"from edm2lite.data.datasets import *; check_dataset(DataConfig(path={str(path)!r}))"
        subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": str(tmp_path)})
