"""Euler's solver: order of convergence, its relation to Heun's, churn."""

from itertools import pairwise

import pytest
import torch

from edm2lite import karras_sigmas, sample_euler
from tests.guidance.gaussian import gaussian
from tests.sampling.exact import (
    alternating,
    data_variance,
    error_at_lowest_level,
    mean_and_variance,
    orders,
    uniform_in_lambda,
)


@pytest.mark.parametrize("levels", [uniform_in_lambda, alternating, lambda n: karras_sigmas(n)[:-1]])
def test_order_one(levels):
    errors = [error_at_lowest_level(sample_euler, levels(n)) for n in (65, 129, 257)]
    assert all(0.95 < order < 1.05 for order in orders(errors)), errors


def test_it_walks_along_the_slope():
    """Against the textbook's x + (sigma' - sigma) dx/dsigma."""
    noise = torch.randn(2, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x, levels = noise * 80, karras_sigmas(9)
    for sigma, sigma_next in pairwise(levels):
        x = x + (sigma_next - sigma) * (x - gaussian(x, sigma)) / sigma
    torch.testing.assert_close(sample_euler(gaussian, noise, num_steps=9, dtype=torch.float64), x)


def test_the_variance_is_right_to_first_order_with_churn_too():
    errors = []
    for n in (128, 256, 512):
        mean, variance = mean_and_variance(sample_euler, num_steps=n, S_churn=10)
        assert mean == pytest.approx(0.3)
        errors.append(abs(variance - data_variance()))
    assert all(0.85 < order < 1.05 for order in orders(errors)), errors
