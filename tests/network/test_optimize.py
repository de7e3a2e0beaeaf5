"""A denoiser made ready for sampling gives the same numbers, and computes less."""

import subprocess
import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from edm2lite.errors import UserError
from edm2lite.network.denoiser import Denoiser
from edm2lite.network.layers import MPConv
from tests.conftest import GOLDEN, tiny_denoiser

ATTENDING = {"channel_mult": (1, 2), "attn_resolutions": (4,), "channels_per_head": 8}
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


class Norms(TorchDispatchMode):
    """Counts norms."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten.linalg_vector_norm.default
        return func(*args, **(kwargs or {}))


def attending(label_dim: int = 3, **changes) -> Denoiser:
    return tiny_denoiser(label_dim, **{**ATTENDING, **changes}).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("sigma", [torch.tensor(0.7), torch.tensor([0.01, 0.5, 3.0, 70.0])], ids=["shared", "own"])
@pytest.mark.parametrize("labels", [torch.tensor([0, 1, 2, 0]), None], ids=["labels", "null"])
def test_gives_the_same_bits(dtype, sigma, labels):
    net, x = attending(), torch.randn(4, 1, 8, 8)
    net.compute_dtype = dtype
    fast = net.optimize(compile=False)
    dropout = (0.2, torch.arange(4))
    assert torch.equal(fast(x, sigma, labels), net(x, sigma, labels))
    assert torch.equal(fast(x, sigma, labels, dropout), net(x, sigma, labels, dropout))
    assert torch.equal(fast.logvar(sigma), net.logvar(sigma))


def test_gives_the_published_numbers(published_net, golden):
    g = golden("network")
    fast = published_net("cond").optimize(compile=False)
    out = fast(g["cond/x"], g["cond/sigma"], g["cond/labels"].argmax(1))
    torch.testing.assert_close(out, g["cond/denoised"], rtol=1e-5, atol=1e-5)


def test_normalises_no_weight_in_the_forward():
    net, x = attending(), torch.randn(4, 1, 8, 8)
    counts = []
    for model in (net, net.optimize(compile=False)):
        with Norms() as norms:
            model(x, 0.5, torch.zeros(4, dtype=torch.int64))
        counts.append(norms.count)
    layers = sum(isinstance(module, MPConv) for module in net.unet.modules()) + 1  # and the label's
    assert counts[0] - counts[1] == layers


@pytest.mark.parametrize("model", ["plain", "optimized"])
def test_a_shared_noise_level_is_embedded_once(model):
    net, rows = attending(), []
    net = net if model == "plain" else net.optimize(compile=False)
    net.unet.emb_noise.register_forward_hook(lambda module, inputs, out: rows.append(len(out)))
    net(torch.randn(4, 1, 8, 8), torch.tensor(0.5), torch.arange(4) % 3)
    net(torch.randn(4, 1, 8, 8), torch.full((4,), 0.5), torch.arange(4) % 3)
    assert rows == [1, 4]


def test_weights_are_cast_once_and_stay():
    net, x = attending(), torch.randn(2, 1, 8, 8)
    fast = net.optimize(torch.float16, compile=False)
    assert fast.compute_dtype == torch.float16 and net.compute_dtype == torch.float32
    assert all(name.endswith("gain") for name, _ in fast.named_parameters())
    assert {t.dtype for name, t in fast.unet.named_buffers() if "fourier" not in name} == {torch.float16}
    before = fast(x, 0.5)
    for parameter in net.parameters():
        parameter.data.mul_(1.5)
    net.unet.out_gain.data.zero_()
    assert torch.equal(fast(x, 0.5), before)
    assert (fast.img_resolution, fast.img_channels, fast.label_dim, fast.sigma_data) == (8, 1, 3, 0.5)


def test_the_original_can_still_be_trained():
    net = attending().requires_grad_(True)
    net.optimize(compile=False)
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_gradients_reach_the_images():
    net, gradients = attending(), []
    start = torch.randn(2, 1, 8, 8)
    for model in (net, net.optimize(compile=False)):
        x = start.clone().requires_grad_(True)
        model(x, 0.5).square().sum().backward()
        gradients.append(x.grad)
    assert torch.equal(*gradients) and gradients[0].abs().max() > 0


def test_an_optimized_denoiser_is_not_optimized_again():
    with pytest.raises(UserError, match="optimized already"):
        attending().optimize(compile=False).optimize(compile=False)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_it_gives_the_same_numbers_and_compiles_once_a_shape(capsys):
    nets, x = [attending(seed=seed) for seed in (0, 1, 2)], torch.randn(4, 1, 8, 8)
    labels = torch.tensor([0, 1, 2, 0])
    for net in nets:
        fast = net.optimize()
        for sigma in torch.logspace(-2.7, 1.9, 12):
            plain, compiled = net(x, sigma, labels), fast(x, sigma, labels)
            assert (compiled - plain).abs().max() < 1e-5 * plain.abs().max()
    said = capsys.readouterr().err
    assert said.count("compiling UNet of") == said.count("compiled UNet of") == 1


@pytest.mark.slow
def test_compiled_code_is_kept_for_the_next_process(tmp_path, monkeypatch):
    monkeypatch.setenv("EDM2LITE_CACHE", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    program = f"""
import torch, edm2lite
from torch._dynamo.utils import counters
net = edm2lite.load_denoiser({str(GOLDEN / "snapshot-cond.pkl")!r})
with torch.no_grad():
    x = torch.ones(2, 3, 16, 16)
    torch.testing.assert_close(net.optimize()(x, 0.5), net(x, 0.5), rtol=1e-5, atol=1e-5)
print(counters["inductor"]["fxgraph_cache_hit"])
"""
    hits = [
        int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
        for _ in range(2)
    ]
    assert hits == [0, 1]
    assert any((tmp_path / "compiled").iterdir())
