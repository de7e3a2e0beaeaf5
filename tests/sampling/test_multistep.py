"""Integrals of Lagrange polynomials in ln sigma, against closed forms."""

import math

import numpy as np
import pytest
import torch

from edm2lite.sampling.multistep import integrals, weighted_sum

STEPS = [([9.0, 4.0, 3.0], 3.0, 0.5), ([80.0, 0.01, 0.002], 80.0, 0.002), ([1.002, 1.001, 1.0], 1.0, 0.999)]


def power_integral(k, start, end):
    """Integral of (ln s)^k ds."""
    antiderivative = {
        0: lambda s: s,
        1: lambda s: s * (math.log(s) - 1),
        2: lambda s: s * (math.log(s) ** 2 - 2 * math.log(s) + 2),
    }
    return antiderivative[k](end) - antiderivative[k](start)


@pytest.mark.parametrize(("levels", "start", "end"), STEPS)
@pytest.mark.parametrize("k", [0, 1, 2])
def test_polynomials_in_ln_sigma_are_integrated_exactly(k, levels, start, end):
    weights = integrals(levels, start, end, np.ones_like)
    found = sum(w * math.log(level) ** k for w, level in zip(weights, levels, strict=True))
    assert found == pytest.approx(power_integral(k, start, end), rel=1e-11)


def test_the_density_counts():
    """Of 1/s, the integral of (ln s)^2 is (ln s)^3 / 3."""
    levels = [9.0, 4.0, 3.0]
    weights = integrals(levels, 3.0, 0.5, lambda s: 1 / s)
    found = sum(w * math.log(level) ** 2 for w, level in zip(weights, levels, strict=True))
    assert found == pytest.approx((math.log(0.5) ** 3 - math.log(3.0) ** 3) / 3, rel=1e-12)


def test_equal_steps_in_ln_sigma_give_adams_bashforth():
    """With density 1/s, d ln s: 23/12, -16/12, 5/12 times the step."""
    weights = integrals([8.0, 4.0, 2.0], 2.0, 1.0, lambda s: 1 / s)
    assert weights == pytest.approx([-math.log(2) * c / 12 for c in (5, -16, 23)])


def test_weighted_sum():
    x, y = torch.tensor([1.0, 2.0]), torch.tensor([10.0, 20.0])
    assert weighted_sum([2.0, -0.5], [x, y]).tolist() == [-3.0, -6.0] and weighted_sum([3.0], [x]).tolist() == [3, 6]
