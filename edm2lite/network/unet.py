"""The UNet of EDM2, config G (Karras et al. 2024a, arXiv 2312.02696, Figure 21 and Table 6)."""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from edm2lite.config import NetworkConfig
from edm2lite.errors import UserError
from edm2lite.network.attention import AUTO, attend
from edm2lite.network.dropout import Dropout, keyed_dropout
from edm2lite.network.layers import MPConv, MPEmbedding, MPFourier, mp_cat, mp_silu, mp_sum, normalize, resample


class Block(nn.Module):
    """Encoder or decoder block: resample, residual branch modulated by the embedding, optional self-attention.

    Args:
        cfg: Network configuration.
        in_channels, out_channels, emb_channels: Widths of input, output and embedding.
        flavor: "enc" (skip convolution and pixel norm before the residual branch) or "dec" (skip convolution on the sum).
        resample_mode: "keep", "down" or "up".
        attention: Whether the block attends; ignored where out_channels holds no complete head.
        layer: Index of the block in the network: the identity of its dropout mask.

    Attributes:
        recompute: Keep only the inputs for the backward pass and compute the block again there (activation checkpointing).
        attention_backend: See `edm2lite.network.attention.set_attention_backend`.
    """

    recompute = False
    attention_backend = AUTO

    def __init__(
        self, cfg: NetworkConfig, in_channels: int, out_channels: int, emb_channels: int,
        *, flavor: str, resample_mode: str = "keep", attention: bool = False, layer: int = 0,
    ):  # fmt: skip
        super().__init__()
        self.cfg, self.flavor, self.resample_mode, self.layer = cfg, flavor, resample_mode, layer
        self.num_heads = out_channels // cfg.channels_per_head if attention else 0
        self.emb_gain = nn.Parameter(torch.zeros(1))
        self.conv_res0 = MPConv(out_channels if flavor == "enc" else in_channels, out_channels, (3, 3))
        self.emb_linear = MPConv(emb_channels, out_channels, ())
        self.conv_res1 = MPConv(out_channels, out_channels, (3, 3))
        self.conv_skip = MPConv(in_channels, out_channels, (1, 1)) if in_channels != out_channels else None
        heads = self.num_heads
        self.attn_qkv = MPConv(out_channels, out_channels * 3, (1, 1), qkv_heads=heads) if heads else None
        self.attn_proj = MPConv(out_channels, out_channels, (1, 1)) if self.num_heads else None

    def forward(self, x: Tensor, emb: Tensor, dropout: Dropout | None) -> Tensor:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(self._compute, x, emb, dropout, use_reentrant=False, preserve_rng_state=False)
        return self._compute(x, emb, dropout)

    def _compute(self, x: Tensor, emb: Tensor, dropout: Dropout | None) -> Tensor:
        x = resample(x, self.resample_mode, self.cfg.resample_filter)
        if self.flavor == "enc":
            x = normalize(self._skip(x), dim=1)
        y = self._residual(x, emb, dropout)
        x = mp_sum(x if self.flavor == "enc" else self._skip(x), y, self.cfg.res_balance)
        if self.num_heads:
            x = mp_sum(x, self._attend(x), self.cfg.attn_balance)
        return x if self.cfg.clip_act is None else x.clip(-self.cfg.clip_act, self.cfg.clip_act)

    def _skip(self, x: Tensor) -> Tensor:
        return x if self.conv_skip is None else self.conv_skip(x)

    def _residual(self, x: Tensor, emb: Tensor, dropout: Dropout | None) -> Tensor:
        y = self.conv_res0(mp_silu(x))
        scale = self.emb_linear(emb, gain=self.emb_gain) + 1
        y = mp_silu(y * scale[:, :, None, None])
        if dropout is not None and dropout.p > 0:
            y = keyed_dropout(y, dropout.p, dropout.keys, self.layer)
        return self.conv_res1(y)

    def _attend(self, x: Tensor) -> Tensor:
        """Cosine attention: q, k and v pixel-normalised per head. In channels_last nothing is copied on the way."""
        assert self.attn_qkv is not None and self.attn_proj is not None
        B, C, H, W = x.shape
        qkv = self.attn_qkv(x).permute(0, 2, 3, 1).reshape(B, H * W, 3, self.num_heads, -1)
        q, k, v = normalize(qkv, dim=-1).permute(2, 0, 3, 1, 4).unbind(0)  # each [B, head, pixel, channel]
        y = attend(q, k, v, self.attention_backend).transpose(1, 2).reshape(B, H, W, C)
        return self.attn_proj(y.permute(0, 3, 1, 2))


class Encoder(nn.Module):
    """The first half of the network: the embedding of noise level and label, and the blocks from fine to coarse.

    Attributes:
        widths: Channels of each level.
        emb_channels: Of the embedding.
        skip_channels: Of what each block leaves for a decoder.
    """

    def __init__(self, cfg: NetworkConfig, img_resolution: int, img_channels: int, label_dim: int):
        super().__init__()
        self.cfg = cfg
        factor = 2 ** (len(cfg.channel_mult) - 1)
        if img_resolution % factor or img_resolution < factor:
            raise UserError(
                f"network.channel_mult has {len(cfg.channel_mult)} levels, which halve the resolution to 1/{factor}, but the "
                f"images have {img_resolution} pixels; use fewer levels"
            )
        self.widths = widths = [cfg.model_channels * m for m in cfg.channel_mult]
        noise_channels = cfg.model_channels * cfg.channel_mult_noise if cfg.channel_mult_noise else widths[0]
        self.emb_channels = cfg.model_channels * cfg.channel_mult_emb if cfg.channel_mult_emb else max(widths)
        self.emb_fourier = MPFourier(noise_channels)
        self.emb_noise = MPConv(noise_channels, self.emb_channels, ())
        self.emb_label = MPEmbedding(label_dim, self.emb_channels) if label_dim else None
        self.enc, self.skip_channels = self._build_encoder(widths, img_resolution, img_channels + 1, self.emb_channels)

    def _build_encoder(
        self, widths: list[int], img_resolution: int, in_channels: int, emb_channels: int
    ) -> tuple[nn.ModuleDict, list[int]]:
        """Blocks from the finest to the coarsest level, and the widths of what each leaves for the decoder."""
        cfg, blocks, skips, cout = self.cfg, nn.ModuleDict(), [], in_channels
        for level, width in enumerate(widths):
            res = img_resolution >> level
            if level == 0:
                blocks[f"{res}x{res}_conv"] = MPConv(cout, width, (3, 3))
                cout = width
            else:
                blocks[f"{res}x{res}_down"] = Block(
                    cfg, cout, cout, emb_channels, flavor="enc", resample_mode="down", layer=len(blocks)
                )
            skips.append(cout)
            for i in range(cfg.num_blocks):
                blocks[f"{res}x{res}_block{i}"] = Block(
                    cfg,
                    cout,
                    width,
                    emb_channels,
                    flavor="enc",
                    attention=res in cfg.attn_resolutions,
                    layer=len(blocks),
                )
                cout = width
                skips.append(cout)
        return blocks, skips

    def embed(self, c_noise: Tensor, labels: Tensor | None, dtype: torch.dtype) -> Tensor:
        """Embedding of noise level and label: [B] float32 and [B] int64 (None: the null label) -> [B, emb_channels]."""
        emb = self.emb_noise(self.emb_fourier(c_noise).to(dtype))
        if self.emb_label is not None:
            label = torch.zeros_like(emb) if labels is None else self.emb_label(labels, dtype)
            emb = mp_sum(emb, label, self.cfg.label_balance)
        return mp_silu(emb)

    def encode(self, x: Tensor, emb: Tensor, dropout: Dropout | None) -> list[Tensor]:
        """What each block leaves, the last being the coarsest: scaled noisy images [B,C,H,W], embedding [B, emb_channels]."""
        x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)  # the constant channel stands in for biases
        x = x.contiguous(memory_format=torch.channels_last)  # and so are all that follow, also where weights are not
        left = []
        for block in self.enc.values():
            x = block(x, emb, dropout) if isinstance(block, Block) else block(x)
            left.append(x)
        return left


class UNet(Encoder):
    """Raw network F: noisy images and embedding of (noise level, label) -> raw output of the same shape."""

    def __init__(self, cfg: NetworkConfig, img_resolution: int, img_channels: int, label_dim: int):
        super().__init__(cfg, img_resolution, img_channels, label_dim)
        self.dec = self._build_decoder(self.widths, img_resolution, self.emb_channels, self.skip_channels)
        self.out_conv = MPConv(self.widths[0], img_channels, (3, 3))
        self.out_gain = nn.Parameter(torch.zeros(1))

    def _build_decoder(
        self, widths: list[int], img_resolution: int, emb_channels: int, skips: list[int]
    ) -> nn.ModuleDict:
        """Blocks from the coarsest to the finest level; consumes the encoder's skips from the end."""
        cfg, blocks, cout, layer = self.cfg, nn.ModuleDict(), widths[-1], len(self.enc)
        skips = list(skips)
        for level, width in reversed(list(enumerate(widths))):
            res = img_resolution >> level
            if level == len(widths) - 1:
                for name, attention in (("in0", True), ("in1", False)):
                    blocks[f"{res}x{res}_{name}"] = Block(
                        cfg, cout, cout, emb_channels, flavor="dec", attention=attention, layer=layer + len(blocks)
                    )
            else:
                blocks[f"{res}x{res}_up"] = Block(
                    cfg, cout, cout, emb_channels, flavor="dec", resample_mode="up", layer=layer + len(blocks)
                )
            for i in range(cfg.num_blocks + 1):
                blocks[f"{res}x{res}_block{i}"] = Block(
                    cfg, cout + skips.pop(), width, emb_channels,
                    flavor="dec", attention=res in cfg.attn_resolutions, layer=layer + len(blocks),
                )  # fmt: skip
                cout = width
        return blocks

    def forward(
        self, x: Tensor, c_noise: Tensor, labels: Tensor | None = None, dropout: Dropout | None = None
    ) -> Tensor:
        """Map scaled noisy images x [B,C,H,W] (any float dtype, which the computation keeps) to the raw output."""
        emb = self.embed(c_noise, labels, x.dtype)
        skips = self.encode(x, emb, dropout)
        x = skips[-1]
        for name, block in self.dec.items():
            if "block" in name:
                x = mp_cat(x, skips.pop(), self.cfg.concat_balance)
            x = block(x, emb, dropout)
        return self.out_conv(x, gain=self.out_gain)
