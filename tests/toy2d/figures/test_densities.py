"""Densities on a grid, their ratio and its gradient, with models that are known."""

import torch

from edm2lite.config import ModelRef
from edm2lite.toy2d import ground_truth
from edm2lite.toy2d.figures.densities import densities, push
from edm2lite.toy2d.figures.regions import Box, around
from edm2lite.toy2d.models import load

A, BOTH = load(ModelRef(path="exact:A")), load(ModelRef(path="exact:AB"))
SIGMA = 0.3


class Shifted:
    """A log-density with another constant, as a network's has."""

    def logp(self, x, sigma):
        return A.logp(x, sigma) + 7


def test_densities_are_normalised_and_the_truth_is_class_a():
    found = densities(Shifted(), BOTH, around("A", 0.0), SIGMA, 36)
    x, y, points = found.grid
    area = (x[1] - x[0]) * (y[1] - y[0])
    for logp in (found.truth, found.main, found.guide):
        torch.testing.assert_close(logp.exp().sum() * area, torch.tensor(1.0).double(), rtol=1e-5, atol=0)
    exact = ground_truth("A").logp(points.double(), SIGMA).reshape(len(y), len(x))
    torch.testing.assert_close(found.truth, exact, rtol=0, atol=2e-3)  # the box leaves a little outside
    torch.testing.assert_close(found.main, found.truth, rtol=0, atol=1e-3)


def test_where_main_and_guide_are_one_model_nothing_is_pushed():
    found = densities(BOTH, BOTH, around("A", 0.0), SIGMA, 12)
    assert not found.ratio.any()
    assert not push(BOTH, BOTH, found.grid.points, SIGMA).any()


def test_the_push_is_the_gradient_of_the_ratio():
    found = densities(A, BOTH, Box((0.0, 0.6), (-0.3, 0.6)), SIGMA, 40)
    x, y, points = found.grid
    by_y, by_x = torch.gradient(found.ratio, spacing=(float(y[1] - y[0]), float(x[1] - x[0])))
    pushed = push(A, BOTH, points.double(), SIGMA).reshape(len(y), len(x), 2)
    inner = slice(5, -5)
    torch.testing.assert_close(torch.stack([by_x, by_y], 2)[inner, inner], pushed[inner, inner], rtol=0.05, atol=0.05)
