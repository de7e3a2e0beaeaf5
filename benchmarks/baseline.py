"""The plain eager baseline: our own networks as the papers' formulas read, as most code is written, and nothing made slow.

Network: eager kernels in the default memory layout; every weight is normalised in every forward, also when sampling;
attention is softmax(q k^T / sqrt(d)) v by two torch.einsum. Activations are of the dtype asked for, softmax in float32, weights
in float32 and cast at use. Training: torch.optim.Adam as it comes; a loop over tensors each for the repair of gradients, the
EMA profiles and forced weight normalisation. Sampling: Heun's loop, both networks at every evaluation.

It shares our layers where they only state a formula, does the same arithmetic (no step is there twice), and does not wait for
the device within a step. What it leaves out is what this package adds: weights prepared once, channels_last, fused attention,
torch.compile and CUDA graphs, fused Adam, foreach passes, guides left out where their weight is 1.
"""

import copy
import math
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from edm2lite.config import TrainingConfig
from edm2lite.data.positions import Batch
from edm2lite.network.denoiser import Denoiser
from edm2lite.network.layers import MPConv, MPEmbedding, mp_cat, mp_silu, mp_sum, normalize, resample
from edm2lite.network.unet import Block, UNet
from edm2lite.snapshots.power_function import power_function_beta
from edm2lite.training.learning_rate import learning_rate
from edm2lite.training.loss import noise_levels, weighted_loss


class PlainConv(MPConv):
    """Normalises its weight in every forward."""

    def forward(self, x: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        w = normalize(self.weight)
        w = (w * (gain / math.sqrt(w[0].numel()))).to(x.dtype)
        return F.linear(x, w) if w.ndim == 2 else F.conv2d(x, w, padding=w.shape[-1] // 2)


class PlainBlock(Block):
    """A block with attention by einsum. Without dropout, which the benchmarks switch off."""

    def forward(self, x: Tensor, emb: Tensor, *_: object) -> Tensor:
        cfg = self.cfg
        x = resample(x, self.resample_mode, cfg.resample_filter)
        skip = self.conv_skip or (lambda x: x)
        if self.flavor == "enc":
            x = normalize(skip(x), dim=1)
        y = self.conv_res0(mp_silu(x))
        y = mp_silu(y * (self.emb_linear(emb, gain=self.emb_gain) + 1)[:, :, None, None])
        x = mp_sum(x if self.flavor == "enc" else skip(x), self.conv_res1(y), cfg.res_balance)
        if self.num_heads:
            x = mp_sum(x, self.attend_plainly(x), cfg.attn_balance)
        return x if cfg.clip_act is None else x.clip(-cfg.clip_act, cfg.clip_act)

    def attend_plainly(self, x: Tensor) -> Tensor:
        assert self.attn_qkv is not None and self.attn_proj is not None
        qkv = self.attn_qkv(x).reshape(len(x), self.num_heads, -1, 3, x.shape[2] * x.shape[3])
        q, k, v = normalize(qkv, dim=2).unbind(3)  # each [B, head, channel, pixel]
        weights = torch.einsum("bhcq,bhck->bhqk", q, k / math.sqrt(q.shape[2]))
        weights = weights.softmax(dim=3, dtype=torch.float32).to(x.dtype)
        return self.attn_proj(torch.einsum("bhqk,bhck->bhcq", weights, v).reshape(x.shape))


class PlainUNet(UNet):
    """Embedding, encoder, decoder, one after the other."""

    def forward(self, x: Tensor, c_noise: Tensor, labels: Tensor | None = None, *_: object) -> Tensor:
        emb = self.emb_noise(self.emb_fourier(c_noise.expand(len(x))).to(x.dtype))  # for each image
        if self.emb_label is not None:
            label = torch.zeros_like(emb) if labels is None else self.emb_label(labels, x.dtype)
            emb = mp_sum(emb, label, self.cfg.label_balance)
        emb = mp_silu(emb)
        x, skips = torch.cat([x, torch.ones_like(x[:, :1])], dim=1), []
        for block in self.enc.values():
            x = block(x, emb) if isinstance(block, Block) else block(x)
            skips.append(x)
        for name, block in self.dec.items():
            if "block" in name:
                x = mp_cat(x, skips.pop(), self.cfg.concat_balance)
            x = block(x, emb)
        return self.out_conv(x, gain=self.out_gain)


def baseline(net: Denoiser) -> Denoiser:
    """A copy of a plain denoiser (not an optimised one) that computes as the baseline does; same weights, same dtype."""
    plain = copy.deepcopy(net).to(memory_format=torch.contiguous_format)
    classes = {MPConv: PlainConv, Block: PlainBlock, UNet: PlainUNet}
    for module in plain.modules():
        module.__class__ = classes.get(type(module), type(module))
    return plain


class PlainTraining:
    """The training of a baseline network; same recipe and same numbers as `edm2lite.training`.

    Args:
        net: A network as `baseline` makes it; trained in place.
        cfg: The recipe.
    """

    def __init__(self, net: Denoiser, cfg: TrainingConfig):
        self.net, self.cfg, self.nimg = net.requires_grad_(True), cfg, 0
        self.optimizer = torch.optim.Adam(net.parameters(), lr=cfg.ref_lr, betas=cfg.betas)
        self.averages = {s: [p.detach().clone() for p in net.parameters()] for s in cfg.ema_sigma_rel}

    def step(self, batch: Batch) -> Tensor:
        """One optimizer step on a batch that is on the device; its loss, the mean over all elements."""
        cfg, b = self.cfg, batch
        sigma = noise_levels(b.normals, cfg.P_mean, cfg.P_std)
        loss = weighted_loss(self.net, b.images, b.labels, sigma, b.noise)
        (loss.sum() * (cfg.loss_scaling / len(b.images))).backward()
        with torch.no_grad():
            for p in self.net.parameters():
                if p.grad is not None:
                    p.grad.div_(cfg.loss_scaling)
                    torch.nan_to_num(p.grad, nan=0, posinf=0, neginf=0, out=p.grad)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.nimg, cfg.batch_size, cfg.ref_lr, cfg.ref_batches, cfg.rampup_nimg)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.nimg += cfg.batch_size
        self._average_and_normalize()
        return loss.detach().mean()

    @torch.no_grad()
    def _average_and_normalize(self) -> None:
        for sigma_rel, average in self.averages.items():
            weight = 1 - power_function_beta(sigma_rel, self.nimg, self.cfg.batch_size)
            for a, p in zip(average, self.net.parameters(), strict=True):
                a.lerp_(p, weight)
        for module in self.net.modules():
            if isinstance(module, MPConv | MPEmbedding):
                module.weight.copy_(normalize(module.weight))


@torch.no_grad()
def sample_plainly(
    main: Denoiser,
    guide: Denoiser,
    weight: Callable[[float], float],
    noise: Tensor,
    labels: Tensor | None,
    sigmas: list[float],
) -> Tensor:
    """Heun's loop as in the papers' pseudocode: both networks at every evaluation, whatever the weight.

    Args:
        main, guide: Denoisers.
        weight: Of the guidance at a noise level.
        noise: Unit normal, [B, C, H, W].
        labels: int64 [B] or None.
        sigmas: Noise levels, falling, the last 0.
    """

    def slope(x: Tensor, sigma: float) -> Tensor:
        level = torch.tensor(sigma)  # moved by the network, without waiting
        reference = guide(x, level, labels)
        return (x - (reference + weight(sigma) * (main(x, level, labels) - reference))) / sigma

    x = noise * sigmas[0]
    for sigma, after in pairwise(sigmas):
        d = slope(x, sigma)
        euler = x + (after - sigma) * d
        x = x + (after - sigma) * (d + slope(euler, after)) / 2 if after else euler
    return x
