"""Heun's solver: parity, order of convergence on exact data, churn."""

import math

import pytest
import torch

from edm2lite import guided, karras_sigmas, load_denoiser, sample_heun, seeded_noise
from edm2lite.sampling.seeded import SeededStreams
from tests.conftest import GOLDEN
from tests.guidance.gaussian import gaussian
from tests.sampling.exact import (
    alternating,
    data_variance,
    error_at_lowest_level,
    mean_and_variance,
    orders,
    uniform_in_lambda,
)


@pytest.mark.parametrize("w", [0.0, 1.0, 1.4, 2.1])
@pytest.mark.parametrize(("name", "dtype"), [("heun18", torch.float32), ("heun18_f64", torch.float64)])
def test_parity_with_the_published_sampler(w, name, dtype, published_net, golden):
    g = golden("sampler")
    denoise = guided(published_net("cond"), published_net("guide"), w)
    out = sample_heun(denoise, g["noise"], labels=g["class_idx"], num_steps=18, dtype=dtype)
    assert out.dtype == dtype
    torch.testing.assert_close(out, g[f"{name}/w={w}"], rtol=0, atol=1e-4)


def test_parity_with_churn(published_net, golden, meta):
    cfg, g = meta["sampler"], golden("sampler")
    streams = SeededStreams(cfg["seeds"])
    noise, labels = streams.randn((3, 16, 16)), streams.randint(10)
    denoise = guided(published_net("cond"), published_net("guide"), 1.4)
    out = sample_heun(denoise, noise, labels=labels, randn_like=streams.randn_like, **cfg["churn"])
    torch.testing.assert_close(out, g["heun8_churn/w=1.4"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("w", [0.0, 1.0, 1.4, 2.1])
def test_parity_on_published_snapshots(w, golden):
    main, guide = (load_denoiser(GOLDEN / f"snapshot-{name}.pkl") for name in ("cond", "guide"))
    g = golden("sampler")
    out = sample_heun(guided(main, guide, w), g["noise"], labels=g["class_idx"], num_steps=18, dtype=torch.float64)
    torch.testing.assert_close(out, golden("snapshot_expected")[f"heun18_f64/w={w}"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("levels", [uniform_in_lambda, alternating, lambda n: karras_sigmas(n)[:-1]])
def test_order_two(levels):
    errors = [error_at_lowest_level(sample_heun, levels(n)) for n in (65, 129, 257)]
    assert all(1.9 < order < 2.1 for order in orders(errors)), errors


def test_order_two_on_gaussian_data_to_the_end():
    """For N(0, s^2) the ODE's solution at sigma = 0 is x_T s / sqrt(s^2 + sigma_max^2)."""
    noise = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = noise * 80 * 0.5 / math.sqrt(0.25 + 6400)
    errors = [
        float((sample_heun(gaussian, noise, num_steps=n, dtype=torch.float64) - exact).abs().max())
        for n in (16, 32, 64, 128, 256)
    ]
    assert all(1.8 < order < 2.4 for order in orders(errors)), errors


@pytest.mark.parametrize("S_churn", [0, 10])
def test_the_variance_is_right_to_second_order_with_churn_too(S_churn):
    errors = []
    for n in (32, 64, 128, 256):
        mean, variance = mean_and_variance(sample_heun, num_steps=n, S_churn=S_churn)
        assert mean == pytest.approx(0.3)
        errors.append(abs(variance - data_variance()))
    assert all(1.9 < order < 2.2 for order in orders(errors)), errors


def test_churn_keeps_the_variance_and_uses_the_given_noise():
    noise, _ = seeded_noise(range(4000), (1, 1, 1))
    streams = SeededStreams(range(4000))
    out = sample_heun(gaussian, noise, num_steps=40, S_churn=30, randn_like=streams.randn_like)
    assert float(out.std()) == pytest.approx(0.5, rel=0.05)
    assert not torch.equal(out, sample_heun(gaussian, noise, num_steps=40))
    again = sample_heun(gaussian, noise, num_steps=40, S_churn=30, randn_like=SeededStreams(range(4000)).randn_like)
    assert torch.equal(out, again)


def test_number_of_evaluations():
    calls = []
    sample_heun(
        lambda x, sigma, labels=None: calls.append(float(sigma)) or x / 2, torch.randn(1, 1, 2, 2), num_steps=32
    )
    assert len(calls) == 63 and calls[0] == 80 and calls[-1] == pytest.approx(0.002)
