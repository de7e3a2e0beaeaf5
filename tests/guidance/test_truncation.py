"""Truncation by score scaling."""

import torch

from edm2lite.guidance.truncation import truncated
from tests.guidance.gaussian import Gaussian


def test_factor_one_is_the_denoiser_itself():
    main = Gaussian(0.5)
    assert truncated(main, 1) is main


def test_the_score_is_multiplied():
    """On N(0, s^2) the score is -x / (s^2 + sigma^2)."""
    x, sigma, factor = torch.randn(2, 1, 4, 4), 0.6, 1.5
    denoised = truncated(Gaussian(0.5), factor)(x, torch.tensor(sigma))
    torch.testing.assert_close((denoised - x) / sigma**2, -factor * x / (0.25 + 0.36))
    assert truncated(Gaussian(0.5), factor).img_resolution == 4
