"""A network made ready for training, and its optimizer."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from edm2lite.config import TrainingConfig
from edm2lite.network.attention import set_attention_backend
from edm2lite.network.classifier import Network
from edm2lite.network.compiling import compile_, compiled
from edm2lite.network.precision import compute_dtype
from edm2lite.network.unet import Block
from edm2lite.training.tasks import step_values


def prepare(net: Network, cfg: TrainingConfig, device: torch.device) -> None:
    """Lay a new network out and set it up as the recipe says, but for compiling; `device` is where it will run.

    Raises:
        UserError: If the attention kernel asked for cannot compute it there.
    """
    net.to(memory_format=torch.channels_last)  # where convolutions are fastest
    net.compute_dtype = compute_dtype(cfg.precision)
    set_attention_backend(net, cfg.attention, device)
    for module in net.modules():
        if isinstance(module, Block):
            module.recompute = cfg.activation_checkpointing


def make_optimizer(net: nn.Module, cfg: TrainingConfig) -> torch.optim.Optimizer:
    """Adam by one kernel for many tensors, on any device, sharded or not."""
    return torch.optim.Adam(net.parameters(), lr=cfg.ref_lr, betas=cfg.betas, fused=True)


def training_values(net: Network, cfg: TrainingConfig, sharded: bool) -> Callable[..., dict[str, Tensor]]:
    """`step_values` as the recipe says: compiled as a whole; of what FSDP2 will shard, blocks alone, without its hooks."""
    if cfg.compile and sharded:
        blocks = [module for module in net.modules() if isinstance(module, Block)]
        for block in blocks:
            compile_(block, f"one of {len(blocks)} blocks for training")
    return compiled(step_values, "the training loss") if cfg.compile and not sharded else step_values
