"""Parameters, multiply-adds and memory, against closed forms, real tensors and the published table."""

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from edm2lite.config import NetworkConfig
from edm2lite.network.cost import Kept, count_parameters, kept_bytes, largest_block, meta_denoiser, multiply_adds
from edm2lite.network.layers import MPConv
from tests.conftest import TINY, tiny_denoiser

PLAIN = NetworkConfig(model_channels=8, channel_mult=(1,), num_blocks=1, attn_resolutions=(), channels_per_head=64)


def test_parameters_are_those_of_a_real_network():
    real = tiny_denoiser(label_dim=10)
    assert count_parameters(meta_denoiser(8, 1, 10, TINY)) == sum(p.numel() for p in real.parameters())


def test_multiply_adds_in_closed_form():
    """One level of 8 channels at 4x4 pixels: every convolution and linear layer by hand."""
    pixels, c = 16, 8
    block = 2 * 9 * c * c * pixels + c * c  # two convolutions and the embedding's linear layer
    decoder = block + (9 * c * c + 2 * c * c) * pixels  # on twice the channels: the first convolution and the skip's
    blocks = block + 2 * block + 2 * decoder  # encoder; in0 and in1; two on skips
    assert multiply_adds(meta_denoiser(4, 3, 0, PLAIN)) == 9 * (4 + 3) * c * pixels + c * c + blocks


def test_attention_is_counted():
    """One head of 8 channels on 16 pixels: qkv, projection, and two products of 16 x 16 x 8, in three blocks besides in0."""
    attending = NetworkConfig(**{**PLAIN.__dict__, "attn_resolutions": (4,), "channels_per_head": 8})
    no_head = NetworkConfig(**{**PLAIN.__dict__, "attn_resolutions": (4,)})
    pixels, c = 16, 8
    one = 4 * c * c * pixels + 2 * pixels * pixels * c
    assert multiply_adds(meta_denoiser(4, 3, 0, attending)) - multiply_adds(meta_denoiser(4, 3, 0, no_head)) == 4 * one


def test_work_is_proportional_to_the_batch():
    net = meta_denoiser(8, 1, 0, TINY)
    assert multiply_adds(net, 6) == 6 * multiply_adds(net, 1)


def test_a_convolution_keeps_its_input_and_its_weight_as_applied():
    layer = MPConv(2, 3, (3, 3))
    kept = Kept(layer)
    x = torch.randn(5, 2, 4, 4)
    with saved_tensors_hooks(kept.pack, lambda tensor: tensor):
        y = layer(x)
    weight, norms = (
        layer.weight.numel(),
        3,
    )  # normalise saves the norm and what it divides by; both have one number a row
    assert y.grad_fn is not None
    assert kept.bytes == 4 * (x.numel() + weight + 2 * norms)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_meta_tensors_tell_what_real_ones_keep(dropout):
    """Without attention, whose kernels, and so what they keep, differ between devices."""
    meta = meta_denoiser(8, 1, 10, NetworkConfig(**{**TINY.__dict__, "channels_per_head": 64, "dropout": dropout}))
    real = tiny_denoiser(label_dim=10, channels_per_head=64, dropout=dropout).requires_grad_(True)
    kept, numbers = Kept(real), torch.zeros(3, dtype=torch.int64)
    with saved_tensors_hooks(kept.pack, lambda tensor: tensor):
        real(torch.randn(3, 1, 8, 8), torch.ones(3), numbers, (dropout, numbers) if dropout else None)
    assert kept_bytes(meta, 3) == pytest.approx(kept.bytes, rel=0.001)


def test_memory_grows_with_the_batch_and_shrinks_with_recomputing_and_half_precision():
    net = meta_denoiser(32, 3, 0, NetworkConfig(model_channels=64, num_blocks=2))
    two, three, four = (kept_bytes(net, batch) for batch in (2, 3, 4))  # of one image math attention copies less
    assert four - three == three - two > 0
    assert kept_bytes(net, 8, recompute=True) < 0.4 * kept_bytes(net, 8)
    net.compute_dtype = torch.float16
    assert 0.4 < kept_bytes(net, 8) / (two + 6 * (three - two)) < 0.6


def test_the_largest_block_is_one_of_the_decoder():
    net = meta_denoiser(8, 1, 0, TINY)
    assert largest_block(net) == max(count_parameters(block) for block in net.unet.dec.values())
