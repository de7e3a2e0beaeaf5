"""Loss, optimiser step and both EMA profiles against five steps of the published implementation."""

import pytest
import torch

from edm2lite.network.layers import normalize_weights_
from edm2lite.training.loss import noise_levels, weighted_loss
from edm2lite.training.power_ema import PowerEMA
from tests.conftest import tiny_denoiser


def test_five_steps_of_the_published_training(published_net, golden, meta):
    g, cfg = golden("training"), meta["training"]
    net = published_net("cond").requires_grad_(True)
    normalize_weights_(net)
    ema = PowerEMA(net, cfg["ema_sigma_rel"])
    optimizer = torch.optim.Adam(net.parameters(), betas=tuple(cfg["adam_betas"]))
    for i in range(cfg["steps"]):
        sigma = noise_levels(g["normals"][i].flatten(), cfg["P_mean"], cfg["P_std"])
        loss = weighted_loss(net, g["images"][i], g["labels"][i].argmax(1), sigma, g["noise"][i])
        assert float(loss.detach().mean()) == pytest.approx(float(g["losses"][i]), rel=1e-5, abs=1e-5)
        optimizer.zero_grad()
        (loss.sum() / cfg["batch"]).backward()
        if i == 0:
            check_first_gradients(net, g)
        optimizer.param_groups[0]["lr"] = float(g["lrs"][i])
        optimizer.step()
        ema.update(cfg["batch"] * (i + 1), cfg["batch"])
        normalize_weights_(net)
    probe = (g["probe_x"], g["probe_sigma"], g["probe_labels"].argmax(1))
    with torch.no_grad():
        torch.testing.assert_close(net(*probe), g["probe_net"], rtol=1e-4, atol=1e-4)
        for sigma_rel in cfg["ema_sigma_rel"]:
            net.load_state_dict(ema.named_average(sigma_rel), strict=False)
            torch.testing.assert_close(net(*probe), g[f"probe_ema-{sigma_rel:.3f}"], rtol=1e-4, atol=1e-4)


def check_first_gradients(net, g):
    gradients = {name: p.grad for name, p in net.named_parameters()}
    stored = {k.removeprefix("grad_step0/"): v for k, v in g.items() if k.startswith("grad_step0/")}
    assert gradients.keys() == stored.keys()
    for name, expected in stored.items():
        error = (gradients[name].reshape(expected.shape) - expected).abs().max()
        assert error <= 2e-5 * expected.abs().max(), name


def test_noise_levels_are_log_normal():
    sigma = noise_levels(torch.randn(10**6, generator=torch.Generator().manual_seed(0)), -0.4, 1.2)
    assert float(sigma.log().mean()) == pytest.approx(-0.4, abs=0.01)
    assert float(sigma.log().std()) == pytest.approx(1.2, abs=0.01)


def test_a_zero_denoiser_gives_the_closed_form():
    """With D = 0 and u known, the loss is lambda / exp(u) y^2 + u."""
    net = tiny_denoiser()
    u = net.logvar(0.5)
    net.forward = lambda x, *_: torch.zeros_like(x)  # type: ignore[method-assign]
    y = torch.randn(3, 1, 8, 8)
    loss = weighted_loss(net, y, None, torch.full((3,), 0.5), torch.randn_like(y))
    torch.testing.assert_close(loss, 8 / u.exp() * y**2 + u)  # lambda(0.5) = 0.5 / 0.0625
