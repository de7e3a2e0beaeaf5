"""Feature extractors for the small bundled datasets: a classifier trained on the very dataset, named as such.

A distance in its features tells models of that dataset apart; it is no FID and not comparable with one. The detector is
trained once, deterministically, and its weights are cached under $EDM2LITE_CACHE (default ~/.cache/edm2lite).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from edm2lite.data.datasets import DATASETS
from edm2lite.data.images import ImageArrays
from edm2lite.errors import UserError, unknown_name
from edm2lite.evaluation.detectors.detector import Detector
from edm2lite.evaluation.detectors.precision import in_float32
from edm2lite.files import atomic_path, cache_dir, sha256

VERSION = 1  # of architecture and training below; a change makes old weights and statistics incomparable
STEPS, BATCH_SIZE, WIDTH = 500, 128, 32


class Classifier(Detector):
    """Small convolutional classifier; its features are the 64 activations before the last layer.

    Args:
        name: Of its dataset.
        img_channels, img_resolution: Shape of the images.
        label_dim: Number of classes.
    """

    dim = 64
    preprocessing = "x/127.5-1"
    in_fp32 = ("out",)
    image_shape: tuple[int, int, int]

    def __init__(self, name: str, img_channels: int, img_resolution: int, label_dim: int):
        super().__init__()
        self.name = name
        self.title = f"{name}-classifier-v{VERSION}"
        self.image_shape = (img_channels, img_resolution, img_resolution)
        self.conv1 = nn.Conv2d(img_channels, WIDTH, 3, padding=1)
        self.conv2 = nn.Conv2d(WIDTH, 2 * WIDTH, 3, padding=1)
        self.hidden = nn.Linear(2 * WIDTH * (img_resolution // 4) ** 2, self.dim)
        self.out = nn.Linear(self.dim, label_dim)

    @in_float32
    def forward(self, images: Tensor) -> Tensor:
        """Features float32 [B, 64] of images uint8 [B, C, H, W]."""
        x = self.cast(images.to(torch.float32) / 127.5 - 1)
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return F.silu(self.hidden(x.flatten(1)).to(torch.float32))

    @in_float32
    def logits(self, features: Tensor) -> Tensor:
        """Logits [B, label_dim] of features [B, 64]."""
        return self.out(features)


def load_classifier(dataset: str) -> Classifier:
    """The detector of a bundled dataset; trained and cached at the first call.

    Raises:
        UserError: If the dataset is unknown or the cached weights are damaged.
    """
    if dataset not in DATASETS:
        raise unknown_name("dataset for a detector", dataset, DATASETS)
    data = DATASETS[dataset]()
    net = _untrained(data)
    path = cache_dir() / f"{net.title}.safetensors"
    if not path.exists():
        with atomic_path(path) as temporary:
            save_file(train_classifier(data).state_dict(), temporary)
    net.weights_sha256 = sha256(path)
    try:
        net.load_state_dict(load_file(path))
    except Exception as e:
        raise UserError(f"detector weights {path} are damaged ({e}); delete the file, it is made anew") from e
    return net.eval().requires_grad_(False)


def train_classifier(data: ImageArrays) -> Classifier:
    """Train on the whole dataset with fixed seeds: cross-entropy, Adam, cosine decay. A few seconds on a CPU.

    In one thread, because the number of threads changes the order of sums and with it the last bits of the weights.
    """
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(0)
        net = _untrained(data)
        images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels)
        optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        for _ in range(STEPS):
            index = torch.randint(len(images), [BATCH_SIZE])
            loss = F.cross_entropy(net.logits(net(images[index])), labels[index], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net


def _untrained(data: ImageArrays) -> Classifier:
    return Classifier(data.name, data.img_channels, data.img_resolution, data.label_dim)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread while inside, so that the bits do not depend on how many there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
