"""Attention: the formula, every backend, and layouts in which nothing is copied."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from edm2lite.errors import UserError
from edm2lite.network.attention import able_backends, attend, set_attention_backend
from edm2lite.network.layers import normalize
from edm2lite.network.unet import Block
from tests.conftest import tiny_denoiser

CPU = torch.device("cpu")


def attending(channels=16, heads=2) -> Block:
    """A block that attends, in channels_last."""
    net = tiny_denoiser(
        model_channels=channels, channels_per_head=channels // heads, channel_mult=(1,), attn_resolutions=(8,)
    )
    net.to(memory_format=torch.channels_last)
    return next(m for m in net.modules() if isinstance(m, Block) and m.num_heads == heads)


def plainly(block: Block, x: torch.Tensor) -> torch.Tensor:
    """The formula, with rows of the stored weight in the published order [head, channel, (q,k,v)]."""
    w = normalize(block.attn_qkv.weight).flatten(1) / block.attn_qkv.weight.shape[1] ** 0.5
    qkv = torch.einsum("oc,bchw->bohw", w, x).reshape(len(x), block.num_heads, -1, 3, x.shape[2] * x.shape[3])
    q, k, v = normalize(qkv, dim=2).unbind(3)  # each [B, head, channel, pixel]
    weights = (torch.einsum("nhcq,nhck->nhqk", q, k) / q.shape[2] ** 0.5).softmax(dim=3)
    return block.attn_proj(torch.einsum("nhqk,nhck->nhcq", weights, v).reshape(x.shape))


@pytest.mark.parametrize("backend", ["auto", "math", "flash"])
def test_a_block_attends_by_the_formula_whatever_the_backend(backend):
    block, x = attending(), torch.randn(3, 16, 8, 8).contiguous(memory_format=torch.channels_last)
    set_attention_backend(block, backend)
    torch.testing.assert_close(block._attend(x), plainly(block, x), rtol=1e-4, atol=1e-5)


class Copies(TorchDispatchMode):
    """Counts copies of at least `size` elements."""

    def __init__(self, size):
        super().__init__()
        self.size, self.count = size, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        copying = func in (torch.ops.aten.clone.default, torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
        self.count += copying and args[0].numel() >= self.size
        return func(*args, **(kwargs or {}))


def test_in_channels_last_nothing_as_large_as_an_activation_is_copied():
    block, x = attending(), torch.randn(64, 16, 8, 8).contiguous(memory_format=torch.channels_last)
    with torch.no_grad(), Copies(x.numel()) as copies:
        out = block._attend(x)
    assert copies.count == 0 and out.is_contiguous(memory_format=torch.channels_last)


def test_activations_are_channels_last_whatever_the_weights_are():
    net, seen = tiny_denoiser(), []
    for block in (m for m in net.modules() if isinstance(m, Block)):
        block.register_forward_hook(
            lambda _, args, out: seen.append(out.is_contiguous(memory_format=torch.channels_last))
        )
    net(torch.randn(2, 1, 8, 8), 0.5)
    assert seen and all(seen)


def test_what_cannot_compute_it_is_refused_and_what_can_is_named():
    net = tiny_denoiser()
    with pytest.raises(
        UserError, match=r"attention backend cudnn cannot .* float32 on cpu; choose one of: auto, .*math"
    ):
        set_attention_backend(net, "cudnn")
    with pytest.raises(UserError, match=r"unknown attention backend 'sage'; choose one of: auto, flash"):
        set_attention_backend(net, "sage")
    assert {m.attention_backend for m in net.modules() if isinstance(m, Block)} == {"auto"}
    assert "math" in able_backends(net, CPU) and "cudnn" not in able_backends(net, CPU)


def test_every_block_gets_it_and_its_kernel_is_called(monkeypatch):
    net, called = tiny_denoiser(), []
    monkeypatch.setattr("edm2lite.network.unet.attend", lambda *args: called.append(args[3]) or attend(*args))
    set_attention_backend(net, "math")
    net(torch.randn(2, 1, 8, 8), 0.5)
    assert called and set(called) == {"math"}
