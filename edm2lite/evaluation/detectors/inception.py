"""Inception-v3 "2015-12-05", the network of the FID, in torch alone.

Ported from torch-fidelity 0.4.0, https://github.com/toshas/torch-fidelity (Apache-2.0, its feature_extractor_inceptionv3.py and
interpolate_compat_tensorflow.py, the former adapted from pytorch-fid, Apache-2.0): the layers, their names in its weights file
and TensorFlow's peculiarities are theirs; they are written anew here.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edm2lite.evaluation.detectors import inception_blocks as blocks
from edm2lite.evaluation.detectors.detector import Detector
from edm2lite.evaluation.detectors.precision import in_float32
from edm2lite.evaluation.detectors.weights import WeightsFile

RESOLUTION = 299
WEIGHTS = WeightsFile(
    detector="inception",
    name="weights-inception-2015-12-05-6726825d.pth",
    url="https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    size=95_628_359,
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)


def resize_tf1(images: Tensor, size: int) -> Tensor:
    """Bilinear interpolation of float32 [B,C,H,W] to [B,C,size,size] as in TensorFlow 1: source x = j W / size.

    Not antialiased. Rounds where TensorFlow's kernel does: first along x, then along y, each as a + (b - a) t.
    """
    for dim in (3, 2):
        length = images.shape[dim]
        at = torch.arange(size, dtype=torch.float32, device=images.device) * (length / size)
        low = at.long()
        t = (at - low).reshape(-1, *[1] * (3 - dim))
        a, b = images.index_select(dim, low), images.index_select(dim, (low + 1).clamp_max(length - 1))
        images = a + (b - a) * t
    return images


class Inception(Detector):
    """The 2048 averages before the last layer.

    Its last layer gives logits of 1008 classes, of which the Inception Score leaves the bias out.
    """

    name = "inception"
    title = "inception-2015-12-05"
    dim = 2048
    preprocessing = f"tf1-bilinear-{RESOLUTION}"
    in_fp32 = ("fc",)

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = blocks.Conv(3, 32, 3, stride=2, same=False)
        self.Conv2d_2a_3x3 = blocks.Conv(32, 32, 3, same=False)
        self.Conv2d_2b_3x3 = blocks.Conv(32, 64, 3)
        self.Conv2d_3b_1x1 = blocks.Conv(64, 80)
        self.Conv2d_4a_3x3 = blocks.Conv(80, 192, 3, same=False)
        self.Mixed_5b = blocks.MixedA(192, 32)
        self.Mixed_5c = blocks.MixedA(256, 64)
        self.Mixed_5d = blocks.MixedA(288, 64)
        self.Mixed_6a = blocks.MixedB(288)
        self.Mixed_6b = blocks.MixedC(768, 128)
        self.Mixed_6c = blocks.MixedC(768, 160)
        self.Mixed_6d = blocks.MixedC(768, 160)
        self.Mixed_6e = blocks.MixedC(768, 192)
        self.Mixed_7a = blocks.MixedD(768)
        self.Mixed_7b = blocks.MixedE(1280, blocks.average)
        self.Mixed_7c = blocks.MixedE(2048, blocks.maximum)
        self.fc = nn.Linear(self.dim, 1008)

    @in_float32
    def forward(self, images: Tensor) -> Tensor:
        """Features float32 [B, 2048] of images uint8 [B, 1 or 3, H, W]."""
        x = resize_tf1(images.to(torch.float32), RESOLUTION).expand(-1, 3, -1, -1)
        layout = torch.channels_last if x.device.type == "cpu" else torch.contiguous_format  # a third faster on a CPU
        x = self.cast(((x - 128) / 128).contiguous(memory_format=layout))
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))  # [B, 64, 147, 147]
        x = F.max_pool2d(x, 3, 2)
        x = F.max_pool2d(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)), 3, 2)  # [B, 192, 35, 35]
        x = self.Mixed_6a(self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x))))  # [B, 768, 17, 17]
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(x))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))  # [B, 2048, 8, 8]
        return F.adaptive_avg_pool2d(x.to(torch.float32), 1).flatten(1)

    @in_float32
    def logits(self, features: Tensor) -> Tensor:
        """Logits without bias, [B, 1008], of features [B, 2048]."""
        return F.linear(features, self.fc.weight)
