"""Every magnitude-preserving operation keeps unit magnitude; closed forms."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edm2lite.network.layers import (
    MPConv,
    MPEmbedding,
    MPFourier,
    mp_cat,
    mp_silu,
    mp_sum,
    normalize,
    normalize_weights_,
    resample,
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def rms(x: torch.Tensor) -> float:
    return float(x.square().mean().sqrt())


def test_normalize_gives_unit_rms_per_row_up_to_eps():
    w = torch.randn(5, 3, 3, 3) * torch.tensor([1e-6, 1e-3, 1, 30, 1e3]).reshape(-1, 1, 1, 1)
    out = normalize(w).square().mean(dim=(1, 2, 3)).sqrt()
    before = w.square().mean(dim=(1, 2, 3)).sqrt()
    torch.testing.assert_close(out, before / (1e-4 + before))


def test_normalize_along_one_dimension():
    x = torch.randn(2, 16, 4, 4) * 3
    torch.testing.assert_close(normalize(x, dim=1).square().mean(dim=1), torch.ones(2, 4, 4), atol=1e-3, rtol=0)


@pytest.mark.parametrize("t", [0.0, 0.3, 0.5, 1.0])
def test_mp_sum_and_mp_cat_keep_unit_magnitude(t):
    a, b = torch.randn(8, 64, 16, 16), torch.randn(8, 32, 16, 16)
    assert rms(mp_sum(a, torch.randn_like(a), t)) == pytest.approx(1, abs=0.01)
    out = mp_cat(a, b, t)
    assert rms(out) == pytest.approx(1, abs=0.01)
    ratio = rms(out[:, 64:]) * math.sqrt(32) / max(rms(out[:, :64]) * math.sqrt(64), 1e-12)
    if t < 1:
        assert ratio == pytest.approx(t / (1 - t), abs=0.02), "contributions are balanced as t to 1 - t"


def test_mp_silu_and_fourier_keep_unit_magnitude():
    assert rms(mp_silu(torch.randn(10**6))) == pytest.approx(1, abs=0.01)
    assert rms(MPFourier(256)(torch.randn(4096))) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("kernel", [(), (1, 1), (3, 3)])
def test_mp_conv_keeps_unit_magnitude_whatever_the_scale_of_its_weight(kernel):
    layer = MPConv(64, 128, kernel)
    layer.weight.data.mul_(17)
    x = torch.randn(512, 64) if kernel == () else torch.randn(8, 64, 16, 16)
    y = layer(x)
    if kernel == (3, 3):
        y = y[..., 1:-1, 1:-1]  # zero padding lowers the border
    assert rms(y.detach()) == pytest.approx(1, abs=0.03)


def test_mp_embedding_is_the_linear_layer_on_scaled_one_hot_labels():
    labels, embedding, linear = torch.tensor([3, 0, 9]), MPEmbedding(10, 16), MPConv(10, 16, ())
    linear.weight.data.copy_(embedding.weight)
    expected = linear(F.one_hot(labels, 10).float() * math.sqrt(10))
    torch.testing.assert_close(embedding(labels, torch.float32), expected)


def test_resample_box_and_general_filters_agree_with_closed_forms():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    down = torch.tensor([[2.5, 4.5], [10.5, 12.5]]).reshape(1, 1, 2, 2)
    torch.testing.assert_close(resample(x, "down"), down)
    torch.testing.assert_close(resample(down, "up")[0, 0, :2, :2], torch.full((2, 2), 2.5))
    assert resample(x, "keep") is x
    constant = torch.ones(2, 3, 8, 8)
    for mode in ("down", "up"):
        inner = resample(constant, mode, (1, 3, 3, 1))[..., 2:-2, 2:-2]
        torch.testing.assert_close(inner, torch.ones_like(inner))


def test_forced_normalisation_rounds_once_from_float64():
    net = nn.ModuleList(
        [MPConv(24, 32, (3, 3)), MPConv(16, 48, (1, 1), qkv_heads=4), MPConv(5, 7, ()), MPEmbedding(10, 16)]
    )
    net[0].to(memory_format=torch.channels_last)
    for layer in net:
        layer.weight.data.mul_(3 * torch.rand_like(layer.weight))
    expected = [normalize(layer.weight.detach().double()).float() for layer in net]
    normalize_weights_(net)
    assert all(torch.equal(layer.weight, w) for layer, w in zip(net, expected, strict=True))
    normalize_weights_(nn.Linear(2, 2))  # nothing to do


def test_queries_keys_and_values_are_applied_one_after_the_other():
    layer, x = MPConv(6, 2 * 5 * 3, (1, 1), qkv_heads=2), torch.randn(2, 6, 3, 3)
    stored = MPConv(6, 30, (1, 1))
    stored.load_state_dict(layer.state_dict())
    expected = stored(x).reshape(2, 2, 5, 3, 3, 3).permute(0, 3, 1, 2, 4, 5)  # [B, (q,k,v), head, channel, H, W]
    torch.testing.assert_close(layer(x).reshape(expected.shape), expected)


def test_forced_normalisation_changes_weights_alone_and_is_a_fixed_point():
    net = nn.ModuleDict({"conv": MPConv(4, 8, (3, 3)), "emb": MPEmbedding(5, 8), "plain": nn.Linear(3, 3)})
    plain, x = net["plain"].weight.clone(), torch.randn(2, 4, 5, 5)
    net["conv"].weight.data.mul_(5)
    before = net["conv"](x)
    normalize_weights_(net)
    torch.testing.assert_close(net["conv"](x), before, rtol=2e-4, atol=2e-4)
    assert torch.equal(net["plain"].weight, plain)
    once = net["conv"].weight.detach().clone()
    assert rms(once) == pytest.approx(1, abs=1e-3)
    for _ in range(3):  # rms converges to 1 - eps
        normalize_weights_(net)
    settled = net["conv"].weight.detach().clone()
    normalize_weights_(net)
    torch.testing.assert_close(net["conv"].weight.detach(), settled, rtol=1e-7, atol=0)
    torch.testing.assert_close(settled, once, rtol=3e-4, atol=0)
