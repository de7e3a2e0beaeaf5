"""The network against the published implementation's numbers, and its contract."""

import pytest
import torch

from edm2lite.network.attention import set_attention_backend
from edm2lite.network.denoiser import scalings
from tests.conftest import tiny_denoiser


def labels_of(one_hot):
    return one_hot.argmax(dim=1)


@pytest.mark.parametrize("name", ["cond", "uncond", "guide"])
def test_parity_with_the_published_network(name, published_net, golden):
    net, g = published_net(name), golden("network")
    labels = labels_of(g[f"{name}/labels"]) if f"{name}/labels" in g else None
    expected = g[f"{name}/denoised"]
    error = (net(g[f"{name}/x"], g[f"{name}/sigma"], labels) - expected).abs().max() / expected.abs().max()
    assert error < 1e-5
    torch.testing.assert_close(net.logvar(g[f"{name}/sigma"]), g[f"{name}/logvar"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["cond", "guide"])
def test_no_labels_is_the_null_label(name, published_net, golden):
    g = golden("network")
    out = published_net(name)(g[f"{name}/x"], g[f"{name}/sigma"])
    torch.testing.assert_close(out, g[f"{name}/denoised_null_label"], rtol=1e-5, atol=1e-5)


def test_state_dict_has_the_published_names(published_net, golden):
    stored = {k.removeprefix("cond/state/") for k in golden("network") if k.startswith("cond/state/")}
    assert set(published_net("cond").state_dict()) == stored


def test_contract():
    net = tiny_denoiser(label_dim=3)
    assert (net.img_resolution, net.img_channels, net.label_dim, net.sigma_data) == (8, 1, 3, 0.5)
    x, labels = torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])
    scalar = net(x, 1.5, labels)
    assert scalar.shape == x.shape and scalar.dtype == torch.float32
    torch.testing.assert_close(net(x, torch.full((4,), 1.5), labels), scalar, rtol=1e-6, atol=1e-6)
    assert torch.equal(net(x, torch.tensor(1.5, dtype=torch.float64), labels), scalar)
    assert torch.equal(net(x.double(), 1.5, labels), net(x.double().float(), 1.5, labels))
    assert net.logvar(2.0).shape == (1, 1, 1, 1) and net.logvar(torch.ones(4)).shape == (4, 1, 1, 1)


def test_gains_are_vectors_so_that_fsdp2_takes_them():
    assert all(p.ndim > 0 for p in tiny_denoiser().parameters())


def test_an_untrained_network_denoises_by_the_skip_alone():
    net = tiny_denoiser()
    net.unet.out_gain.zero_()
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(net(x, 0.5), x / 2)


def test_preconditioning_gives_unit_variance_inputs_and_targets():
    torch.manual_seed(0)
    y = 0.5 * torch.randn(64, 4, 8, 8)
    for sigma in (0.01, 0.5, 20.0):
        c = scalings(torch.full((64,), sigma), 0.5)
        x = y + sigma * torch.randn_like(y)
        assert float((c.in_ * x).std()) == pytest.approx(1, abs=0.03)
        assert float(((y - c.skip * x) / c.out).std()) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_stays_near_float32_and_returns_float32(dtype):
    net = tiny_denoiser(label_dim=3)
    x, labels = torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])
    exact = net(x, 0.7, labels)
    net.compute_dtype = dtype
    out = net(x, 0.7, labels)
    assert out.dtype == torch.float32
    assert (out - exact).abs().max() < (0.01 if dtype == torch.float16 else 0.08)


@pytest.mark.filterwarnings("ignore")
def test_as_one_graph_gradients_with_dropout_and_a_chosen_backend_are_those_of_eager():
    """Without inductor's kernels, which take a minute to compile: tests/training/test_compile.py has them."""
    grads = []
    for compiled in (False, True):
        net = tiny_denoiser(label_dim=3, dropout=0.2).requires_grad_(True)
        set_attention_backend(net, "flash")
        run = torch.compile(net, fullgraph=True, backend="aot_eager") if compiled else net
        torch.manual_seed(1)
        x, labels, keys = torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 0]), torch.arange(4)
        run(x, torch.full((4,), 0.7), labels, (0.2, keys)).square().sum().backward()
        grads.append([p.grad for p in net.parameters() if p.grad is not None])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
