"""DINOv2, the vision transformer of FD-DINOv2, in torch alone; its parameters are named as in the files of Meta's hub.

Oquab et al. 2023 (arXiv:2304.07193). The position embedding is resampled as Meta's hub code does (Apache-2.0), which timm and
transformers do not: https://github.com/facebookresearch/dinov2, `interpolate_pos_encoding`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edm2lite.evaluation.detectors.detector import Detector
from edm2lite.evaluation.detectors.precision import in_float32
from edm2lite.evaluation.detectors.weights import WeightsFile

WEIGHTS = WeightsFile(
    detector="dinov2",
    name="dinov2_vitl14_pretrain.pth",
    url="https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
    size=1_217_586_395,
    sha256="d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as the network was trained
OFFSET = 0.1  # that the hub adds to the number of patches when it resamples the position embedding


class DINOv2(Detector):
    """The class token after the last normalisation; by default of ViT-L/14, 1024 features.

    Args:
        dim: Width.
        depth: Number of blocks.
        heads: Of attention.
        patch: Side of a patch in pixels.
        trained: Side of the images it was trained with, in patches.
        resolution: Side to which images are resized, in pixels.
    """

    name = "dinov2"
    title = "dinov2-vitl14"
    in_fp32 = ("norm",)

    def __init__(
        self,
        dim: int = 1024,
        depth: int = 24,
        heads: int = 16,
        patch: int = 14,
        trained: int = 37,
        resolution: int = 224,
    ):
        super().__init__()
        self.dim, self.trained, self.resolution = dim, trained, resolution
        self.preprocessing = f"bicubic-antialias-{resolution}"
        self.side = resolution // patch  # in patches
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + trained**2, dim))
        self.mask_token = nn.Parameter(torch.zeros(1, dim))  # of its training; unused, but in the file
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, dim, patch, stride=patch)})
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    @in_float32
    def forward(self, images: Tensor) -> Tensor:
        """Features float32 [B, dim] of images uint8 [B, 1 or 3, H, W]."""
        patches = self.patch_embed["proj"](self.cast(preprocess(images, self.resolution))).flatten(2).mT
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), patches.to(torch.float32)], 1)
        x = self.cast(tokens + self.positions())
        for block in self.blocks:
            x = block(x)
        return self.norm(x[:, 0].to(torch.float32))

    def positions(self) -> Tensor:
        """The position embedding for images of `resolution`, [1, 1 + side^2, dim].

        Bicubic without antialiasing, at a scale of (side + 0.1) / trained instead of side / trained.
        """
        grid = self.pos_embed[:, 1:].mT.unflatten(2, (self.trained, self.trained))
        scale = (self.side + OFFSET) / self.trained
        grid = F.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
        return torch.cat([self.pos_embed[:, :1], grid.flatten(2).mT], 1)


def preprocess(images: Tensor, resolution: int) -> Tensor:
    """Images uint8 [B, 1 or 3, H, W] as the network takes them: float32 [B, 3, resolution, resolution].

    Bicubic with antialiasing, in float: overshoot beyond 0 ... 255 is neither clamped nor rounded.
    """
    x = F.interpolate(images.to(torch.float32), (resolution, resolution), mode="bicubic", antialias=True)
    mean, std = (x.new_tensor(values).reshape(1, 3, 1, 1) for values in (MEAN, STD))
    return (x / 255 - mean) / std


class Block(nn.Module):
    """Attention, then a two-layer perceptron; each normalised before and scaled after, beside an identity."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads)
        self.ls1 = Scale(dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(dim, 4 * dim), "fc2": nn.Linear(4 * dim, dim)})
        self.ls2 = Scale(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x)))))


class Attention(nn.Module):
    """Multi-head self-attention of [B, N, dim]."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each [B, heads, N, C]
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Scale(nn.Module):
    """A factor for each channel."""

    def __init__(self, dim: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma
