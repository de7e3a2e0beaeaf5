"""Guidance by other denoisers: closed forms, w = 1, and errors."""

import pytest
import torch

from edm2lite import guided
from edm2lite.errors import UserError
from edm2lite.guidance.autoguidance import Guided
from tests.conftest import tiny_denoiser
from tests.guidance.gaussian import Gaussian


def test_weight_one_is_the_main_model_and_never_runs_the_guide():
    main, guide = tiny_denoiser(label_dim=3), Gaussian(0.7)
    x, labels = torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])
    expected = main(x, torch.tensor(0.8), labels)
    for off in (guided(main, guide, 1), Guided(main, [(guide, 1.0), (guide, lambda sigma: 1.0)])):
        assert torch.equal(off(x, torch.tensor(0.8), labels), expected)
    assert guide.calls == 0
    assert guided(main, None, 1.0) is main


@pytest.mark.parametrize("w", [0.0, 0.5, 1.4, 3.0])
def test_closed_form_on_gaussians(w):
    main, guide, x, sigma = Gaussian(0.5), Gaussian(0.9), torch.randn(2, 1, 4, 4), torch.tensor(0.6)
    factor_main, factor_guide = 0.25 / (0.25 + 0.36), 0.81 / (0.81 + 0.36)
    expected = x * (factor_guide + w * (factor_main - factor_guide))
    torch.testing.assert_close(guided(main, guide, w)(x, sigma), expected)


def test_a_blend_is_equation_6():
    """D_m + sum (w_i - 1) (D_m - D_i); with w_u = (1 - a)(w - 1) + 1 and w_c = a (w - 1) + 1 it goes over from CFG to AG."""
    main, cfg, ag = Gaussian(0.5), Gaussian(0.9, mu=0.3), Gaussian(0.7)
    x, sigma, w, a = torch.randn(2, 1, 4, 4), torch.tensor(0.6), 2.5, 0.3
    blend = Guided(main, [(cfg, (1 - a) * (w - 1) + 1), (ag, a * (w - 1) + 1)])(x, sigma)
    m, u, c = (d(x, sigma) for d in (main, cfg, ag))
    torch.testing.assert_close(blend, m + (1 - a) * (w - 1) * (m - u) + a * (w - 1) * (m - c))
    torch.testing.assert_close(blend, (1 - a) * (u + w * (m - u)) + a * (c + w * (m - c)))


def test_a_weight_may_depend_on_the_noise_level_of_each_sample():
    main, guide, x = Gaussian(0.5), Gaussian(0.9), torch.randn(3, 1, 4, 4)
    sigma = torch.tensor([0.1, 0.6, 3.0])
    d = guided(main, guide, lambda s: 2.0 if s > 1 else 1.0)(x, sigma)
    assert torch.equal(d[:2], main(x, sigma)[:2])
    torch.testing.assert_close(d[2:], guided(main, guide, 2.0)(x[2:], sigma[2:]))


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
