"""The energy distance by hand, on Gaussians, and its cubature."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from edm2lite.toy2d import ground_truth
from edm2lite.toy2d.energy_distance import EnergyDistance, cubature, mean_distance


def normals(n: int, seed: int) -> Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def disc(radius: float) -> tuple[Tensor, Tensor]:
    """Nodes and weights of a Gaussian: Gauss-Laguerre in half the squared radius, 24 directions."""
    half, weight = np.polynomial.laguerre.laggauss(30)
    angle = torch.arange(24, dtype=torch.float64) * math.pi / 12
    ring = torch.stack([angle.cos(), angle.sin()], dim=1)
    nodes = torch.from_numpy(half * 2).sqrt()[:, None, None] * ring * radius
    return nodes.flatten(0, 1), torch.from_numpy(weight).repeat_interleave(24) / 24


def test_by_hand():
    x, even = torch.tensor([[0, 0], [3, 4]], dtype=torch.float64), torch.tensor([0.5, 0.5], dtype=torch.float64)
    y, weights = torch.tensor([[0, 0], [6, 8]], dtype=torch.float64), torch.tensor([0.75, 0.25], dtype=torch.float64)
    assert mean_distance(x, even, y, weights) == pytest.approx(0.75 * 2.5 + 0.25 * 7.5)
    assert mean_distance(y, weights, y, weights) == pytest.approx(2 * 0.75 * 0.25 * 10)
    assert EnergyDistance(y, weights)(x) == pytest.approx(2 * 3.75 - 5 - 3.75)


def test_two_gaussians():
    points, radius = normals(3000, 0), 3.0  # E|X - Y| of variances a and b is sqrt(pi (a + b) / 2)
    exact = 2 * math.sqrt(math.pi * (1 + radius**2) / 2) - (1 + radius) * math.sqrt(math.pi)
    assert EnergyDistance(*disc(radius))(points) == pytest.approx(exact, abs=0.06)


def test_few_points_are_unbiased():
    distance = EnergyDistance(*disc(1.0))
    values = torch.tensor([distance(normals(3, seed)) for seed in range(1000)])
    assert abs(float(values.mean())) < 4 * float(values.std()) / math.sqrt(1000)


def test_the_cubature_has_the_mean_and_covariance_of_every_component():
    truth, sigma = ground_truth("A"), 0.1
    nodes, weights = cubature(truth, sigma)
    assert float(weights.sum()) == pytest.approx(1)
    of_component = nodes.reshape(-1, 4, 2)
    torch.testing.assert_close(of_component.mean(dim=1), truth.means)
    gap = of_component - truth.means[:, None]
    torch.testing.assert_close(gap.mT @ gap / 4, truth.covariances + sigma**2 * torch.eye(2, dtype=torch.float64))
    torch.testing.assert_close(weights.reshape(-1, 4).sum(dim=1), truth.weights)


def test_true_points_are_at_no_distance_and_others_are():
    truth, distance = ground_truth("A"), EnergyDistance(*cubature(ground_truth("A"), 0.002))
    points = truth.sample(4096, 0.002, torch.Generator().manual_seed(0))
    assert distance(points) == pytest.approx(0, abs=5e-4)
    assert distance(0.95 * points) > 1e-3
    assert distance(points + torch.tensor([10.0, 0.0])) == pytest.approx(2 * 10, abs=2)
