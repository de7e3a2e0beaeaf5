"""ADM's centre crop, to the pixel."""

import numpy as np
import pytest

from edm2lite import center_crop
from edm2lite.errors import UserError


@pytest.mark.parametrize("case", range(4))
def test_published_crops(case, golden):
    g = golden("center_crop")
    out = center_crop(g[f"{case}/in"].numpy(), 64)
    assert out.dtype == np.uint8
    assert np.abs(out.astype(int) - g[f"{case}/out"].numpy()).max() <= 1, "Pillow versions may move a pixel by 1"
    assert (out == g[f"{case}/out"].numpy()).mean() > 0.99


def test_grey_images_and_enlarging():
    assert center_crop(np.full((10, 20, 1), 7, np.uint8), 32).shape == (32, 32, 1)


def test_wrong_type_is_refused():
    with pytest.raises(UserError, match="takes uint8"):
        center_crop(np.zeros((4, 4, 3)), 2)
