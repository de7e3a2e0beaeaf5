"""DEIS: order of convergence, parity with diffusers, steps that are exact."""

import math

import pytest
import torch

from edm2lite import karras_sigmas
from edm2lite.sampling.deis import sample_deis
from tests.sampling.exact import Recorder, alternating, error_at_lowest_level, orders, uniform_in_lambda
from tests.sampling.test_dpmpp import two_modes

LEVELS = [uniform_in_lambda, alternating, lambda n: karras_sigmas(n)[:-1]]


@pytest.mark.parametrize("levels", LEVELS)
def test_order_three(levels):
    """On levels even in ln sigma the leading error nearly cancels on Gaussian data: the order is higher at first."""
    errors = [error_at_lowest_level(sample_deis, levels(n)) for n in (65, 129, 257)]
    highest = 4.1 if levels in (uniform_in_lambda, alternating) else 3.1
    assert all(2.8 < order < highest for order in orders(errors)), errors


PUBLISHED = {  # diffusers 0.42.1, DEISMultistepScheduler (logrho, order 3, lower_order_final off) on EDM's levels, in float64
    5: [-1.257963078795, -0.593263210384, 0.990437435849, 1.655836024862],
    12: [-1.308020567708, -0.815245825294, 1.212846579817, 1.706345558092],
}


@pytest.mark.parametrize("num_steps", PUBLISHED)
def test_parity_with_diffusers(num_steps):
    noise = torch.linspace(-2, 2, 4, dtype=torch.float64).reshape(1, 1, 2, 2)
    out = sample_deis(two_modes, noise, num_steps=num_steps, dtype=torch.float64)
    expected = torch.tensor(PUBLISHED[num_steps], dtype=torch.float64)
    torch.testing.assert_close(out.flatten(), expected, rtol=0, atol=1e-11)


def test_noise_quadratic_in_ln_sigma_is_integrated_exactly_from_the_third_step_on():
    """And such a step is long: where the noise is smooth in ln sigma, so is the error small, however far the levels."""
    levels = [40.0, 10.0, 3.0, 1.0, 0.1, 0.02]
    denoise = Recorder(lambda x, sigma, labels=None: x - sigma * (0.3 - sigma.log() + 0.2 * sigma.log() ** 2))
    sample_deis(denoise, torch.zeros(1, dtype=torch.float64), sigmas=levels, dtype=torch.float64)
    antiderivative = [s * (0.3 - (math.log(s) - 1) + 0.2 * (math.log(s) ** 2 - 2 * math.log(s) + 2)) for s in levels]
    errors = [
        float(after - before) - (antiderivative[i + 1] - antiderivative[i])
        for i, (before, after) in enumerate(
            (denoise.calls[i][0], denoise.calls[i + 1][0]) for i in range(len(levels) - 1)
        )
    ]
    assert errors[2:] == pytest.approx([0.0] * 3, abs=1e-12) and all(abs(e) > 0.1 for e in errors[:2])
