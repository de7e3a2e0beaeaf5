"""The bundled datasets."""

import numpy as np
import pytest
import torch

from edm2lite.config import DataConfig
from edm2lite.data.datasets import load_dataset
from edm2lite.data.encoders import make_encoder
from edm2lite.errors import UserError


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
