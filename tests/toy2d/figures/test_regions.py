"""Regions of a class: what they hold, and where."""

import torch

from edm2lite.toy2d import ground_truth
from edm2lite.toy2d.figures.regions import Box, around, grid, outliers, region


def test_a_region_holds_999_of_1000_true_points():
    found = region("A", Box((-2, 3), (-2.5, 3)), 60, sigma=0.3, draws=2**14)
    x, y, _ = found.grid
    density = found.logp.double().exp() * (x[1] - x[0]) * (y[1] - y[0])
    assert abs(float(density.sum()) - 1) < 1e-4
    assert abs(float(density[found.logp >= found.level].sum()) - 0.999) < 1e-3


def test_rows_of_a_grid_are_y_and_columns_are_x():
    places = grid(Box((0.0, 1.0), (2.0, 4.0)), 5)
    assert (len(places.x), len(places.y)) == (5, 10)
    shaped = places.points.reshape(10, 5, 2)
    assert torch.equal(shaped[:, 3, 0], places.x[3].expand(10)) and torch.equal(shaped[7, :, 1], places.y[7].expand(5))
    found = region("B", Box((0.0, 0.4), (0.0, 0.2)), 3, sigma=0.2, draws=2**12)
    at = torch.tensor([[0.4, 0.2], [0.0, 0.2]])
    torch.testing.assert_close(found.logp[-1, [-1, 0]], ground_truth("B").logp(at, 0.2), rtol=1e-4, atol=1e-4)


def test_outliers_are_one_true_point_in_a_thousand_and_all_that_is_far():
    truth = ground_truth("A")
    share = outliers(truth.sample(6000, 0.002, torch.Generator().manual_seed(3))).double().mean()
    assert 0 < float(share) < 0.003
    assert not outliers(truth.means).any() and outliers(truth.means[:5] + torch.tensor([3.0, 0.0])).all()
    assert outliers(ground_truth("B").means[:8]).any()
    assert outliers(torch.tensor([[0.3, float("nan")], [float("inf"), 0.3]])).all()


def test_the_view_holds_the_whole_class():
    box = around("A", 0.1)
    assert box.holds(ground_truth("A").means).all()
    assert box.holds(torch.tensor([[box.x[0], box.y[1]], [box.x[0] - 0.01, 0.5]])).tolist() == [True, False]
