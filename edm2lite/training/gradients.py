"""Gradients before the optimizer sees them."""

import math

import torch
from torch import Tensor, nn

from edm2lite.config import TrainingConfig
from edm2lite.network.shards import local_shard


def mend_gradients_(net: nn.Module, cfg: TrainingConfig) -> tuple[Tensor, Tensor]:
    """Unscale the gradients, in place; zero those that are not finite, if the recipe says so.

    Returns:
        Sum of the norms of all parameters' gradients (0 if what is not finite is zeroed), and how many elements were zeroed;
        both of what this rank holds, on the device, not waited for.
    """
    gradients = [local_shard(p.grad) for p in net.parameters() if p.grad is not None]
    if cfg.loss_scaling != 1:
        torch._foreach_div_(gradients, cfg.loss_scaling)
    none = torch.zeros((), device=gradients[0].device)
    if cfg.nonfinite_gradients == "zero":
        return none, zero_nonfinite_(gradients)
    return torch.stack(torch._foreach_norm(gradients)).sum(), none


@torch.no_grad()
def zero_nonfinite_(gradients: list[Tensor]) -> Tensor:
    """Replace by 0, in place, what is not finite. Returns how many elements that were: int64, on the device, not waited for.

    Four kernels a tensor: PyTorch has none for lists of them, and its `isfinite` alone takes four.
    """
    finite = []
    for gradient in gradients:
        finite.append((gradient.abs() < math.inf).sum())
        torch.nan_to_num(gradient, nan=0, posinf=0, neginf=0, out=gradient)
    return sum(gradient.numel() for gradient in gradients) - torch.stack(finite).sum()
