"""Tracking of power-function EMA profiles during training (Karras et al. 2024a, Section 3)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edm2lite.network.shards import local_shard
from edm2lite.snapshots.power_function import power_function_beta


class PowerEMA:
    """One averaged copy of a module's parameters per profile length, sharded like them; the module itself is never changed.

    Args:
        module: Module to average; its parameters are copied now and read at every `update`.
        sigma_rels: Relative lengths of the profiles.
    """

    def __init__(self, module: nn.Module, sigma_rels: Sequence[float]):
        self.names = [name for name, _ in module.named_parameters()]
        self.params = [local_shard(p.detach()) for p in module.parameters()]
        self.averages = {s: [p.clone() for p in self.params] for s in sigma_rels}

    @torch.no_grad()
    def update(self, nimg: int, batch_size: int) -> None:
        """theta <- beta theta + (1 - beta) theta_net for every profile, nimg counted after the step."""
        for sigma_rel, average in self.averages.items():
            torch._foreach_lerp_(average, self.params, 1 - power_function_beta(sigma_rel, nimg, batch_size))

    def named_average(self, sigma_rel: float) -> dict[str, Tensor]:
        """Averaged parameters by name: what this rank holds of them."""
        return dict(zip(self.names, self.averages[sigma_rel], strict=True))
