"""Frames of the animation: their colours, and the region behind the points."""

import numpy as np
import torch
from PIL import ImageColor

from edm2lite.toy2d import ground_truth
from edm2lite.toy2d.figures.animation import _VIEW, _background, indexed
from edm2lite.toy2d.figures.canvas import OUTLIER, POINT, REGION


def test_the_colours_of_a_drawing_are_kept_and_others_go_to_their_nearest():
    own = [ImageColor.getrgb(color) for color in ("white", "black", REGION, POINT, OUTLIER)]
    picture = np.array([own, own[::-1]], np.uint8)
    made = indexed(picture)
    assert made.mode == "P" and np.array_equal(np.asarray(made.convert("RGB")), picture)
    grey = np.array([[[100, 101, 103], [254, 254, 255]]], np.uint8)
    off = np.asarray(indexed(grey).convert("RGB")).astype(int) - grey
    assert np.abs(off).max() <= 12


def test_the_region_is_scaled_as_the_points_are():
    found = _background(1.2, 5)  # 1.2^2 + 0.5^2 = 1.3^2
    torch.testing.assert_close(found.grid.x[[0, -1]], torch.tensor(_VIEW.x))
    corner = torch.tensor([[_VIEW.x[0], _VIEW.y[1]]]) * 1.3 / 0.5
    torch.testing.assert_close(found.logp[-1, 0], ground_truth("A").logp(corner, 1.2)[0], rtol=1e-4, atol=1e-4)
