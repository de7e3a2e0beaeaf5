"""Parameters under FSDP2: every rank holds some rows of each. Plain tensors pass through unchanged."""

from typing import Any

import torch
from torch import Tensor


def local_shard(tensor: Tensor) -> Tensor:
    """What this rank holds of a tensor: whole rows (dimension 0), perhaps none; shares its memory."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


@torch.no_grad()
def gather(shard: Tensor, like: Any) -> Tensor:
    """The whole tensor, on every rank, of which each holds a shard laid out like `like`; a collective under FSDP2."""
    if not hasattr(like, "to_local"):
        return shard
    from torch.distributed.tensor import DTensor

    sharded = DTensor.from_local(shard, like.device_mesh, like.placements, shape=like.shape, stride=like.stride())
    return sharded.full_tensor()


@torch.no_grad()
def copy_shard_(shard: Tensor, whole: Tensor, like: Any) -> None:
    """Copy this rank's part of `whole` into `shard`, laid out like `like`; without communication."""
    if hasattr(like, "to_local"):
        from torch.distributed.tensor import distribute_tensor

        whole = distribute_tensor(
            whole.to(shard.device), like.device_mesh, like.placements, src_data_rank=None
        ).to_local()
    shard.copy_(whole)
