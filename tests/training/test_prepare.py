"""How a network is set up for training, as the recipe says."""

import pytest
import torch

from edm2lite.config import TrainingConfig
from edm2lite.errors import UserError
from edm2lite.network.unet import Block
from edm2lite.training.fit import fit
from edm2lite.training.prepare import make_optimizer, prepare
from tests.conftest import tiny_denoiser
from tests.training.test_strategies import config


def test_layout_precision_attention_and_recomputing_reach_the_network():
    net = tiny_denoiser()
    recipe = TrainingConfig(precision="bf16", attention="math", activation_checkpointing=True)
    prepare(net, recipe, torch.device("cpu"))
    blocks = [module for module in net.modules() if isinstance(module, Block)]
    assert net.compute_dtype == torch.bfloat16 and all(block.recompute for block in blocks)
    assert {block.attention_backend for block in blocks} == {"math"}
    assert blocks[0].conv_res0.weight.is_contiguous(memory_format=torch.channels_last)


def test_an_attention_kernel_that_is_not_here_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match="attention backend cudnn cannot compute this network"):
        fit(config(tmp_path / "run", "one", 160, attention="cudnn"))
    assert not list(tmp_path.iterdir())


def test_fused_adam_takes_the_steps_of_adam():
    """The published step, of tensors in both memory layouts."""
    nets = [tiny_denoiser().to(memory_format=torch.channels_last).requires_grad_(True) for _ in range(2)]
    recipe = TrainingConfig(ref_lr=0.1)
    optimizers = [
        make_optimizer(nets[0], recipe),
        torch.optim.Adam(nets[1].parameters(), 0.1, recipe.betas, foreach=False),
    ]
    assert optimizers[0].defaults["fused"]
    for step in range(3):
        for net, optimizer in zip(nets, optimizers, strict=True):
            torch.manual_seed(step)
            for p in net.parameters():
                p.grad = torch.randn_like(p)
            optimizer.step()
    for ours, theirs in zip(*(net.parameters() for net in nets), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
