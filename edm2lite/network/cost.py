"""What a network costs in work and memory, measured on meta tensors: shapes alone, so the largest takes a second and no memory.

The papers count a multiply-add as one operation, and so do we. Ours are those of convolutions, linear layers and the two
products of attention. The published counts are 1.0 to 1.4 % higher at all six sizes; the difference grows by about three
operations a parameter (perhaps the normalisation of the weights) plus a little an activation.
"""

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.hooks import RemovableHandle

from edm2lite.config import NetworkConfig
from edm2lite.network.denoiser import Denoiser
from edm2lite.network.unet import Block


def meta_denoiser(
    img_resolution: int, img_channels: int, label_dim: int, network: NetworkConfig,
    compute_dtype: torch.dtype = torch.float32,
) -> Denoiser:  # fmt: skip
    """A denoiser without memory; arguments as of `Denoiser`."""
    with torch.device("meta"):
        return Denoiser(img_resolution, img_channels, label_dim, network, compute_dtype)


def count_parameters(module: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(p.numel() for p in module.parameters())


def largest_block(net: Denoiser) -> int:
    """Parameters of the largest block, the unit that FSDP2 makes whole at a time."""
    return max(count_parameters(block) for block in _blocks(net))


def multiply_adds(net: Denoiser, batch: int = 1) -> int:
    """Multiply-adds of one forward of `batch` images through a denoiser on meta tensors."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        _forward(net, batch, dropout=False)
    return counter.get_total_flops() // 2


def kept_bytes(net: Denoiser, batch: int, recompute: bool = False) -> int:
    """Bytes that a forward of `batch` images keeps for its backward, besides the parameters.

    Counted are the tensors that autograd saves, in the denoiser's compute dtype: activations, and copies of the weights as
    they are applied. Not counted is what comes and goes: gradients of activations, workspaces.

    Args:
        net: Denoiser on meta tensors; its blocks are left with `recompute` as given.
        batch: Images together.
        recompute: With activation checkpointing: the inputs of all blocks, and everything within the largest one.
    """
    kept, largest = _keep(net, batch, recompute=False)
    return _keep(net, batch, recompute=True)[0] + largest if recompute else kept


def _keep(net: Denoiser, batch: int, recompute: bool) -> tuple[int, int]:
    """Bytes kept in all, and those of the block that keeps most."""
    kept, marks, hooks = Kept(net), list[int](), list[RemovableHandle]()

    def mark(*args: object) -> None:
        marks.append(kept.bytes)

    for block in _blocks(net):
        block.recompute = recompute
        hooks += [block.register_forward_pre_hook(mark), block.register_forward_hook(mark)]
    with saved_tensors_hooks(kept.pack, lambda tensor: tensor):
        _forward(net, batch, dropout=net.network.dropout > 0)
    for hook in hooks:
        hook.remove()
    return kept.bytes, max(after - before for before, after in zip(marks[::2], marks[1::2], strict=True))


class Kept:
    """Counts the memory of tensors that autograd saves: each storage once, without those of a module.

    Attributes:
        bytes: So far.
    """

    def __init__(self, module: nn.Module):
        self._storages = [t.untyped_storage() for t in (*module.parameters(), *module.buffers())]
        self._keys = {storage._cdata for storage in self._storages}  # on meta, all addresses are 0
        self.bytes = 0

    def pack(self, tensor: Tensor) -> Tensor:
        """Count a tensor; for `torch.autograd.graph.saved_tensors_hooks`."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self._keys:
            self._storages.append(storage)  # kept alive, so that its key stays its own
            self._keys.add(storage._cdata)
            self.bytes += storage.nbytes()
        return tensor


def _blocks(net: Denoiser) -> list[Block]:
    return [module for module in net.modules() if isinstance(module, Block)]


def _forward(net: Denoiser, batch: int, dropout: bool) -> Tensor:
    x = torch.empty(batch, net.img_channels, net.img_resolution, net.img_resolution, device="meta")
    sigma, numbers = torch.empty(batch, device="meta"), torch.empty(batch, dtype=torch.int64, device="meta")
    return net(x, sigma, numbers, (net.network.dropout, numbers) if dropout else None)
