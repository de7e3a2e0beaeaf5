"""A network made ready for training, and its optimizer."""

from collections.abc import Sequence

import torch
from torch import nn

from edm2lite.config import TrainingConfig
from edm2lite.network.attention import set_attention_backend
from edm2lite.network.classifier import Network
from edm2lite.network.compiling import compile_
from edm2lite.network.precision import compute_dtype
from edm2lite.network.unet import Block


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


def compile_for_training(modules: Sequence[nn.Module]) -> None:
    """Compile each for itself. Under FSDP2 blocks, before they are sharded: its hooks stay outside of the graphs."""
    what = f"one of {len(modules)} blocks" if len(modules) > 1 else "the network"
    for module in modules:
        compile_(module, f"{what} for training")
