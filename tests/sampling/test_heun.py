"""Heun's solver: parity, order of convergence on exact data, churn."""

import math
from itertools import pairwise

import pytest
import torch

from edm2lite import guided, karras_sigmas, load_denoiser, sample_heun, seeded_noise
from edm2lite.errors import UserError
from edm2lite.sampling.seeded import SeededStreams
from tests.conftest import GOLDEN


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


def gaussian(x, sigma, labels=None, s=0.5):
    return x * s**2 / (s**2 + sigma**2)


def test_order_two_on_gaussian_data():
    """For N(0, s^2) the ODE's solution is x_T s / sqrt(s^2 + sigma_max^2)."""
    noise = torch.randn(4, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = noise * 80 * 0.5 / math.sqrt(0.25 + 6400)
    steps = [16, 32, 64, 128, 256]
    errors = [
        float((sample_heun(gaussian, noise, num_steps=n, dtype=torch.float64) - exact).abs().max()) for n in steps
    ]
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert all(1.8 < order < 2.4 for order in orders), orders


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


def test_noise_levels():
    s = karras_sigmas(32, 0.002, 80, 7)
    assert len(s) == 33 and s[0] == pytest.approx(80) and s[-2] == pytest.approx(0.002) and s[-1] == 0
    expected = (80 ** (1 / 7) + 10 / 31 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    assert float(s[10]) == pytest.approx(expected)
    assert (s.diff() < 0).all()


@pytest.mark.parametrize("arguments", [(1, 0.002, 80, 7), (0, 0.002, 80, 7), (32, 80, 0.002, 7), (32, 0, 80, 7)])
def test_impossible_noise_levels_are_refused(arguments):
    with pytest.raises(UserError):
        karras_sigmas(*arguments)
    with pytest.raises(UserError):
        sample_heun(
            gaussian,
            torch.zeros(1, 1, 2, 2),
            **dict(zip(("num_steps", "sigma_min", "sigma_max"), arguments, strict=False)),
        )
