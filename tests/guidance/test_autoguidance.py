"""Guidance: closed forms, w = 1, and errors."""

import pytest
import torch

from edm2lite import guided
from edm2lite.errors import UserError
from tests.conftest import tiny_denoiser


class Gaussian:
    """Exact denoiser of N(0, s^2): D = x s^2 / (s^2 + sigma^2); counts its calls."""

    def __init__(self, s):
        self.s, self.calls = s, 0

    def __call__(self, x, sigma, labels=None):
        self.calls += 1
        return x * self.s**2 / (self.s**2 + torch.as_tensor(sigma) ** 2)


def test_weight_one_is_the_main_model_and_never_runs_the_guide():
    main, guide = tiny_denoiser(label_dim=3), Gaussian(0.7)
    x, labels = torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])
    out = guided(main, guide, 1)(x, torch.tensor(0.8), labels)
    assert torch.equal(out, main(x, torch.tensor(0.8), labels))
    assert guide.calls == 0
    assert guided(main, None, 1.0) is main


@pytest.mark.parametrize("w", [0.0, 0.5, 1.4, 3.0])
def test_closed_form_on_gaussians(w):
    main, guide, x, sigma = Gaussian(0.5), Gaussian(0.9), torch.randn(2, 1, 4, 4), torch.tensor(0.6)
    factor_main, factor_guide = 0.25 / (0.25 + 0.36), 0.81 / (0.81 + 0.36)
    expected = x * (factor_guide + w * (factor_main - factor_guide))
    torch.testing.assert_close(guided(main, guide, w)(x, sigma), expected)


def test_the_guided_denoiser_has_the_mains_attributes():
    main = tiny_denoiser(label_dim=3)
    d = guided(main, tiny_denoiser(label_dim=3, seed=1), 2.0)
    assert (d.img_resolution, d.img_channels, d.label_dim, d.sigma_data) == (8, 1, 3, 0.5)
    assert torch.equal(d.logvar(1.0), main.logvar(1.0))
    with pytest.raises(AttributeError):
        _ = d.nothing


def test_an_unconditional_guide_gives_classifier_free_guidance():
    main, guide, labels = tiny_denoiser(label_dim=3), tiny_denoiser(seed=1), torch.tensor([2, 1])
    x, sigma = torch.randn(2, 1, 8, 8), torch.tensor(0.4)
    reference = guide(x, sigma)
    expected = reference + 1.5 * (main(x, sigma, labels) - reference)
    torch.testing.assert_close(guided(main, guide, 1.5)(x, sigma, labels), expected)


def test_a_weight_without_a_guide_is_an_error_not_an_unguided_run():
    with pytest.raises(UserError, match="weight is 2 but there is no guide"):
        guided(tiny_denoiser(), None, 2)


def test_models_of_different_images_are_refused():
    other = tiny_denoiser()
    other.img_resolution = 64
    with pytest.raises(UserError, match="differ in img_resolution: 8 and 64"):
        guided(tiny_denoiser(), other, 2)


def test_models_of_different_classes_are_refused_but_none_are_fine():
    with pytest.raises(UserError, match="have 10 and 3 classes"):
        guided(tiny_denoiser(label_dim=10), tiny_denoiser(label_dim=3), 2)
    guided(tiny_denoiser(label_dim=10), tiny_denoiser(), 2)
