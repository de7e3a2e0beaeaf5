"""DPM-Solver++(2M) and (2S): orders of convergence, parity with diffusers, one step by hand."""

import math

import pytest
import torch

from edm2lite import karras_sigmas, sample_dpmpp_2m, sample_dpmpp_2s, sample_euler
from tests.sampling.exact import Recorder, alternating, error_at_lowest_level, orders, uniform_in_lambda

SOLVERS = {"2m": sample_dpmpp_2m, "2s": sample_dpmpp_2s}


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("levels", [uniform_in_lambda, alternating, lambda n: karras_sigmas(n)[:-1]])
def test_order_two(name, levels):
    """`alternating` needs 2M's ratio of step lengths: without it the order there is one."""
    errors = [error_at_lowest_level(SOLVERS[name], levels(n)) for n in (65, 129, 257)]
    assert all(1.9 < order < 2.1 for order in orders(errors)), errors


def two_modes(x, sigma, labels=None):
    """Denoiser of equal parts of N(-0.8, 0.3^2) and N(1.2, 0.3^2)."""
    v = 0.3**2 + sigma**2
    centre = 0.2 + torch.tanh((x - 0.2) / v)
    return (0.3**2 * x + sigma**2 * centre) / v


PUBLISHED = {  # diffusers 0.42.1, the same denoised images handed to EDMDPMSolverMultistepScheduler (which rounds them to
    # float32) and DPMSolverSinglestepScheduler (dpmsolver++, midpoint; in VP variables, x / sqrt(1 + sigma^2))
    ("2m", 5): [-1.6079267, -0.7494359, 1.1457244, 2.0052476],
    ("2m", 12): [-1.4524744, -0.9526738, 1.3501688, 1.8507385],
    ("2s", 5): [-1.146275252, -0.718636503, 1.115816296, 1.545005312],
    ("2s", 12): [-1.273686905, -0.77800994, 1.175564352, 1.67208982],
}


@pytest.mark.parametrize(("name", "num_steps"), PUBLISHED)
def test_parity_with_diffusers(name, num_steps):
    noise = torch.linspace(-2, 2, 4, dtype=torch.float64).reshape(1, 1, 2, 2)
    out = SOLVERS[name](two_modes, noise, num_steps=num_steps, dtype=torch.float64)
    expected = torch.tensor(PUBLISHED[name, num_steps], dtype=torch.float64)
    torch.testing.assert_close(out.flatten(), expected, rtol=0, atol=2e-7)


def test_2m_begins_with_a_step_of_eulers():
    noise = torch.linspace(-2, 2, 4, dtype=torch.float64).reshape(1, 1, 2, 2)
    settings = {"sigmas": [5, 1], "dtype": torch.float64}
    assert torch.equal(sample_dpmpp_2m(two_modes, noise, **settings), sample_euler(two_modes, noise, **settings))


def test_2s_evaluates_halfway_in_ln_sigma():
    denoise = Recorder(two_modes)
    sample_dpmpp_2s(denoise, torch.ones(1, 1, 1, 1), sigmas=[8, 2, 0.5], dtype=torch.float64)
    assert [float(sigma) for _, sigma, _ in denoise.calls] == pytest.approx([8, 4, 2, 1, 0.5])


@pytest.mark.parametrize("name", SOLVERS)
def test_a_denoiser_linear_in_ln_sigma_is_taken_at_the_middle_of_a_step(name):
    """With D = ln sigma both find D at the geometric mean exactly (2M by extrapolation from the step before)."""
    denoise = Recorder(lambda x, sigma, labels=None: torch.zeros_like(x) + sigma.log())
    SOLVERS[name](denoise, torch.zeros(1), sigmas=[8, 4, 1], dtype=torch.float64)
    first = math.log(8) if name == "2m" else math.log(math.sqrt(32))
    x = first * (1 - 4 / 8)  # at sigma 4, from x = 0 at 8
    expected = math.log(2) + (x - math.log(2)) / 4  # ln 2: half way from 4 to 1
    assert float(denoise.calls[-1][0]) == pytest.approx(expected)
