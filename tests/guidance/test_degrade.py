"""Degradations: closed forms on Gaussian data, and randomness that belongs to the sample."""

import pytest
import torch

from edm2lite.config import ModelRef
from edm2lite.errors import UserError
from edm2lite.guidance.degrade import SigmaScaled, Unconditional, WithDropout, WithInputNoise
from tests.conftest import tiny_denoiser
from tests.guidance.gaussian import Gaussian


def test_sigma_scaling_takes_x_for_noisier():
    x = torch.randn(2, 1, 4, 4)
    scaled = SigmaScaled(Gaussian(0.5), 1.1)
    for sigma in (0.3, torch.tensor(0.3), torch.tensor([0.3, 0.3])):
        torch.testing.assert_close(scaled(x, sigma), x * 0.25 / (0.25 + 0.33**2))


def test_sigma_scaling_of_the_score_takes_the_score_from_there():
    x = torch.randn(2, 1, 4, 4)
    denoised = SigmaScaled(Gaussian(0.5), 1.1, "score")(x, 0.3)
    torch.testing.assert_close((denoised - x) / 0.3**2, -x / (0.25 + 0.33**2))


def test_unconditional_drops_the_labels():
    x, labels = torch.randn(2, 1, 4, 4), torch.tensor([1, 2])
    torch.testing.assert_close(Unconditional(Gaussian(0.5))(x, 0.3, labels), Gaussian(0.5)(x, 0.3))


def test_input_noise_raises_the_noise_level_of_x_as_far_as_it_says():
    """x at sigma plus the added noise is at (1 + p) sigma: checked by the variance of what the network is handed."""
    seen = {}

    def network(x, sigma, labels=None):
        seen["x"], seen["sigma"] = x, sigma
        return x

    generator = torch.Generator().manual_seed(0)
    x = 0.7 * torch.randn(4, 1, 100, 100, generator=generator)
    noisy = WithInputNoise(network, 0.2, lambda like: torch.randn(like.shape, generator=generator))
    for sigma in (0.7, torch.tensor(0.7), torch.full((4,), 0.7, dtype=torch.float64)):
        noisy(x, sigma)
        assert torch.allclose(torch.as_tensor(seen["sigma"]).double(), torch.tensor(0.84, dtype=torch.float64))
        assert abs(seen["x"].std().item() / 0.84 - 1) < 0.01 and seen["x"].dtype == torch.float32


def test_input_noise_on_gaussian_data_in_closed_form():
    """The mean over the added noise is the exact denoiser's shrinkage at (1 + p) sigma."""
    n = torch.randn(2, 1, 4, 4)
    x, sigma, p = torch.randn(2, 1, 4, 4), 0.6, 0.1
    out = WithInputNoise(Gaussian(0.5), p, lambda like: n)(x, sigma)
    expected = (x + sigma * ((1 + p) ** 2 - 1) ** 0.5 * n) * 0.25 / (0.25 + 0.66**2)
    torch.testing.assert_close(out, expected)


def test_dropout_is_that_of_the_network_with_fresh_keys_in_every_evaluation():
    net, x, sigma = tiny_denoiser(), torch.randn(2, 1, 8, 8), torch.tensor(0.5)
    keys = iter([torch.tensor([1, 2]), torch.tensor([3, 4])])
    degraded = WithDropout(net, 0.3, lambda: next(keys))
    first, second = degraded(x, sigma), degraded(x, sigma)
    assert torch.equal(first, net(x, sigma, dropout=(0.3, torch.tensor([1, 2]))))
    assert not torch.equal(first, second) and not torch.equal(first, net(x, sigma))


def test_the_keys_of_masks_go_where_the_images_are():
    seen = {}

    def network(x, sigma, labels=None, dropout=None):
        seen["device"] = dropout[1].device
        return x

    WithDropout(network, 0.1, lambda: torch.tensor([1, 2]))(torch.empty(2, 1, 8, 8, device="meta"), 1.0)
    assert seen["device"].type == "meta", "streams of seeds draw on the CPU"


def test_what_is_taken_from_another_noise_level_needs_one():
    assert ModelRef(path="x", sigma_scale=1.1, sigma_scale_of="score").degradations == {
        "sigma_scale": 1.1,
        "sigma_scale_of": "score",
    }
    with pytest.raises(UserError, match="sigma_scale_of is score but sigma_scale is 1"):
        ModelRef(path="x", sigma_scale_of="score")
