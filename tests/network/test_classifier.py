"""The classifier of noisy images: what it sees, and what it keeps apart."""

import math

import pytest
import torch
from torch import nn

from edm2lite.config import NetworkConfig
from edm2lite.errors import UserError
from edm2lite.network.classifier import Classifier
from edm2lite.network.layers import MPConv, normalize_weights_
from tests.conftest import TINY


def tiny_classifier(classes=3, dtype=torch.float32, **changes) -> Classifier:
    torch.manual_seed(0)
    net = Classifier(8, 1, classes, NetworkConfig(**{**TINY.__dict__, **changes}), dtype)
    for name, parameter in net.named_parameters():
        if name.endswith("gain"):
            parameter.data.fill_(0.7)
    return net.requires_grad_(False)


X, SIGMA = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.tensor([0.1, 0.5, 2.0, 50.0])


def test_the_network_sees_what_a_denoiser_would():
    net, seen = tiny_classifier(), {}
    net.enc["8x8_conv"].register_forward_pre_hook(lambda _, args: seen.update(x=args[0]))
    net.emb_fourier.register_forward_pre_hook(lambda _, args: seen.update(c_noise=args[0]))
    logits = net(X, SIGMA)
    assert logits.shape == (4, 3) and logits.dtype == torch.float32
    scaled = X / (SIGMA**2 + 0.25).sqrt().reshape(-1, 1, 1, 1)
    torch.testing.assert_close(seen["x"], torch.cat([scaled, torch.ones_like(scaled)], dim=1))
    torch.testing.assert_close(seen["c_noise"], SIGMA.log() / 4)
    assert (net.img_resolution, net.img_channels, net.label_dim, net.sigma_data) == (8, 1, 3, 0.5)


def test_samples_are_apart_and_one_noise_level_serves_all():
    net = tiny_classifier()
    each = torch.cat([net(x[None], s) for x, s in zip(X, SIGMA, strict=True)])
    torch.testing.assert_close(net(X, SIGMA), each, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net(X, 0.5), net(X, torch.full((4,), 0.5)))
    assert not torch.allclose(net(X, 0.5), net(X, 0.6), atol=1e-3)


@pytest.mark.parametrize("batch", [4, 5, 16, 33])
def test_a_place_in_the_batch_changes_no_bit(batch):
    """Of logits and their gradient: images of guided samples must not depend on which seeds share a batch."""
    net, generator = tiny_classifier(), torch.Generator().manual_seed(0)
    x, order = torch.randn(batch, 1, 8, 8, generator=generator), torch.randperm(batch, generator=generator)

    def logits_and_gradient(x):
        x = x.clone().requires_grad_()
        logits = net(x, 0.5)
        return logits, torch.autograd.grad(logits.log_softmax(dim=1)[:, 0].sum(), x)[0]

    for here, there in zip(logits_and_gradient(x), logits_and_gradient(x[order]), strict=True):
        assert torch.equal(here[order], there)


def test_what_goes_into_the_last_layer_has_unit_magnitude_and_a_constant():
    net, seen = tiny_classifier(), {}
    net.out_linear.register_forward_pre_hook(lambda _, args: seen.update(x=args[0]))
    net(X, SIGMA)
    assert seen["x"].shape == (4, 8 * 2 + 1) and (seen["x"][:, -1] == 1).all()
    torch.testing.assert_close(seen["x"][:, :-1].square().mean(dim=1), torch.ones(4), rtol=1e-2, atol=0)


def test_at_first_all_classes_are_equally_probable():
    torch.manual_seed(0)
    torch.testing.assert_close(Classifier(8, 1, 5, TINY)(X, 1.0).softmax(dim=1), torch.full((4, 5), 0.2))


def test_no_parameter_is_idle():
    net = Classifier(8, 1, 3, TINY)
    nn.init.ones_(net.out_gain)
    for parameter in net.parameters():
        parameter.requires_grad_(True)
    net(X, SIGMA)[:, 0].sum().backward()
    idle = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    # where the gain of the embedding is still 0, the layer behind it has no gradient
    assert all("emb" in name and not name.endswith("gain") for name in idle), idle


def test_weights_are_those_of_magnitude_preserving_layers():
    net = tiny_classifier()
    normalize_weights_(net)
    assert all(p.ndim > 1 or name.endswith("gain") for name, p in net.named_parameters())
    for layer in (m for m in net.modules() if isinstance(m, MPConv)):
        rms = layer.weight.flatten(1).square().mean(dim=1).sqrt()
        torch.testing.assert_close(rms, torch.ones_like(rms), rtol=0, atol=2e-4)


def test_dropout_belongs_to_the_sample():
    net, keys = tiny_classifier(), torch.arange(4)
    dropped = net(X, SIGMA, (0.5, keys))
    assert not torch.allclose(dropped, net(X, SIGMA), atol=1e-3)
    torch.testing.assert_close(net(X[2:], SIGMA[2:], (0.5, keys[2:])), dropped[2:], rtol=1e-4, atol=1e-5)


def test_half_precision_gives_float32_logits_nearby():
    half = tiny_classifier(dtype=torch.bfloat16)(X, SIGMA)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, tiny_classifier()(X, SIGMA), rtol=0, atol=0.05)
    assert math.isfinite(float(half.sum()))


def test_fewer_than_two_classes_and_too_many_levels_are_refused():
    with pytest.raises(UserError, match="needs labels, but the data have 0 classes"):
        Classifier(8, 1, 0, TINY)
    with pytest.raises(UserError, match="use fewer levels"):
        Classifier(8, 1, 2, NetworkConfig(model_channels=8, channel_mult=(1,) * 5))
