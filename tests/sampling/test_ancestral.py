"""The ancestral sampler: one step against Gaussian conditioning, the distribution it converges to."""

import math

import pytest
import torch

from edm2lite import sample_ancestral
from edm2lite.errors import UserError
from tests.guidance.gaussian import STD
from tests.sampling.exact import (
    MEAN,
    Recorder,
    centred_away,
    data_variance,
    mean_and_variance,
    orders,
)

HIGH, LOW, X = 5.0, 2.0, 0.7


def one_step(v, noise):
    """z_s, after one step from z_t = HIGH * 1.3 to LOW, if the denoised image is X and the fresh noise is `noise`."""
    denoise = Recorder(lambda x, sigma, labels=None: torch.full_like(x, X))
    start = torch.full((1,), 1.3, dtype=torch.float64)
    draw = lambda x: torch.full_like(x, noise)  # noqa: E731
    out = sample_ancestral(denoise, start, sigmas=[HIGH, LOW], v=v, randn_like=draw, dtype=torch.float64)
    assert float(out) == X, "the last step returns the denoised, without noise"
    return float(denoise.calls[-1][0])


def test_mean_and_bounds_are_those_of_gaussian_conditioning():
    """Given x, (z_s, z_t) has covariance [[s^2, s^2], [s^2, t^2]]: condition z_s on z_t."""
    posterior_mean = X + LOW**2 / HIGH**2 * (1.3 * HIGH - X)
    posterior_variance = LOW**2 - LOW**2 / HIGH**2 * LOW**2
    assert one_step(0.0, 0) == pytest.approx(posterior_mean)
    assert (one_step(0.0, 1) - posterior_mean) ** 2 == pytest.approx(posterior_variance)
    assert (one_step(1.0, 1) - posterior_mean) ** 2 == pytest.approx(HIGH**2 - LOW**2)  # z_t given z_s


@pytest.mark.parametrize("v", [0.3, 0.5, 0.9])
def test_between_the_bounds_the_variance_is_interpolated_in_its_logarithm(v):
    variances = [(one_step(u, 1) - one_step(u, 0)) ** 2 for u in (0.0, v, 1.0)]
    low, between, high = map(math.log, variances)
    assert between == pytest.approx((1 - v) * low + v * high)


def test_the_lower_bound_is_exact_for_a_single_image():
    """With all data in one point, z at every noise level has variance sigma^2 exactly, whatever the steps."""
    for sigmas in ([80, 1], [80, 20, 5, 1]):
        basis, denoise = iter(torch.eye(9, dtype=torch.float64)), Recorder(lambda x, sigma, labels=None: 0 * x)
        sample_ancestral(
            denoise, next(basis), sigmas=sigmas, v=0, randn_like=lambda x, basis=basis: next(basis), dtype=torch.float64
        )
        assert float(denoise.calls[-1][0].square().sum()) == pytest.approx(1)


@pytest.mark.parametrize("v", [0, 0.3, 0.5, 1])
def test_mean_is_exact_and_variance_converges_at_first_order(v):
    errors = []
    for n in (128, 256, 512):
        mean, variance = mean_and_variance(sample_ancestral, num_steps=n, v=v)
        assert mean == pytest.approx(MEAN)
        errors.append(variance - data_variance())
    assert all(0.75 < order < 1.15 for order in orders([abs(e) for e in errors])), errors
    assert abs(errors[-1]) < 0.03 * STD**2 and (errors[-1] > 0) == (v == 1), "the bounds enclose the truth"


def test_samples_of_gaussian_data():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(20_000, generator=generator)
    draw = lambda x: torch.randn(x.shape, generator=generator)  # noqa: E731
    out = sample_ancestral(centred_away, noise, num_steps=400, randn_like=draw)
    assert float(out.mean()) == pytest.approx(MEAN, abs=4 * STD / math.sqrt(20_000))
    _, variance = mean_and_variance(sample_ancestral, num_steps=400)
    assert float(out.var()) == pytest.approx(variance, rel=4 * math.sqrt(2 / 20_000))


@pytest.mark.parametrize("v", [-0.1, 1.1, float("nan")])
def test_v_outside_its_bounds_is_refused(v):
    with pytest.raises(UserError, match=r"v is .* in \[0, 1\]"):
        sample_ancestral(centred_away, torch.zeros(1), v=v)
