"""A denoiser made ready for sampling: what does not depend on the images is computed once."""

import copy
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edm2lite.errors import UserError
from edm2lite.network.layers import MPConv, MPEmbedding, normalize

Net = TypeVar("Net", bound=nn.Module)

GAINS = {
    "emb_linear": "emb_gain",
    "out_conv": "out_gain",
}  # layers that are applied with a learned gain of their parent


class AppliedConv(nn.Module):
    """An `MPConv` as it is applied: normalised, times its gain, scaled and cast, once."""

    weight: Tensor

    def __init__(self, conv: MPConv, dtype: torch.dtype, gain: Tensor | float = 1.0):
        super().__init__()
        layout = torch.channels_last if conv.weight.ndim == 4 else torch.contiguous_format
        weight = conv.scaled_weight(dtype, gain).detach()
        self.register_buffer("weight", weight.contiguous(memory_format=layout))

    def forward(self, x: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        """The layer's output; the gain is part of the weight already."""
        if self.weight.ndim == 2:
            return F.linear(x, self.weight)
        return F.conv2d(x, self.weight, padding=self.weight.shape[-1] // 2)


class AppliedEmbedding(nn.Module):
    """An `MPEmbedding` as it is applied: a table of normalised rows."""

    table: Tensor

    def __init__(self, embedding: MPEmbedding, dtype: torch.dtype):
        super().__init__()
        self.register_buffer("table", normalize(embedding.weight.detach().float()).t().to(dtype).contiguous())

    def forward(self, labels: Tensor, dtype: torch.dtype) -> Tensor:
        """Rows of labels, int64 [B] -> [B, out]."""
        return F.embedding(labels, self.table)


def applied(net: Net, dtype: torch.dtype) -> Net:
    """A copy of a network for inference in `dtype`: no weight is normalised in its forward; it gives the same bits.

    Raises:
        UserError: If it is such a copy already.
    """
    if any(isinstance(module, AppliedConv) for module in net.modules()):
        raise UserError("this denoiser is optimized already; optimize the one that load_denoiser returned")
    weights = [module.weight for module in net.modules() if isinstance(module, MPConv | MPEmbedding)]
    clone = copy.deepcopy(
        net, memo={id(weight): weight for weight in weights}
    )  # these are not copied, but replaced below
    for parent in list(clone.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, MPConv):
                gain = getattr(parent, GAINS[name]) if name in GAINS else 1.0
                parent._modules[name] = AppliedConv(child, dtype, gain)
            elif isinstance(child, MPEmbedding):
                parent._modules[name] = AppliedEmbedding(child, dtype)
    return clone
