"""Keyed dropout: right rate, independent masks, and a mask that belongs to the sample."""

import pytest
import torch

from edm2lite.network.dropout import keyed_dropout
from tests.conftest import tiny_denoiser


def masks(keys, layer=0, p=0.3, shape=(8, 16, 16)):
    return keyed_dropout(torch.ones(len(keys), *shape), p, torch.tensor(keys), layer) == 0


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5, 0.9])
def test_rate_and_scale(p):
    out = keyed_dropout(torch.ones(64, 8, 16, 16), p, torch.arange(64), 3)
    assert (out == 0).float().mean() == pytest.approx(p, abs=0.005)
    assert out.max() == pytest.approx(1 / (1 - p))


def test_masks_of_neighbouring_keys_layers_and_elements_are_uncorrelated():
    for a, b in [
        (masks([0, 1, 2]), masks([1, 2, 3])),
        (masks([5], layer=0), masks([5], layer=1)),
        (masks([7]), masks([7 + (1 << 40)])),
        (masks(list(range(50)))[..., 1:], masks(list(range(50)))[..., :-1]),
    ]:
        both = (a & b).float().mean().item()
        assert both == pytest.approx(0.09, abs=0.02)


def test_the_mask_belongs_to_the_sample():
    together = masks([10, 11, 12])
    assert torch.equal(masks([12, 10]), together[[2, 0]])


def test_zero_rate_or_no_keys_change_nothing():
    x = torch.randn(2, 4, 8, 8)
    assert torch.equal(keyed_dropout(x, 0.0, torch.tensor([1, 2]), 0), x)
    net = tiny_denoiser(dropout=0.5)
    x, sigma = torch.randn(2, 1, 8, 8), torch.ones(2)
    assert torch.equal(net(x, sigma), tiny_denoiser(dropout=0.0)(x, sigma))
    assert not torch.equal(net(x, sigma, dropout=(0.5, torch.tensor([1, 2]))), net(x, sigma))
