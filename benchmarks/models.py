"""The networks that are timed: sizes as in the repository's own configurations, random weights."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from edm2lite.cli import TRAIN, build_parser
from edm2lite.config import NetworkConfig, TrainConfig, TrainingConfig
from edm2lite.network.cost import meta_denoiser, multiply_adds
from edm2lite.network.denoiser import Denoiser
from edm2lite.network.layers import normalize_weights_
from edm2lite.training.budget import DataShape, data_shape

CONFIGS = Path(__file__).parents[1] / "configs"
TINY = NetworkConfig(model_channels=16, channel_mult=(1, 2), num_blocks=1, attn_resolutions=(8,), channels_per_head=16)
SIZES = ("tiny", "digits", "digits-small", "XS", "S", "M", "L", "XL", "XXL")


@cache
def config(size: str, data: int) -> TrainConfig:
    """The configuration of a size; its dropout is that of the published training.

    Args:
        size: One of `SIZES`.
        data: 64 (RGB, 64x64x3) or 512 (latents, 64x64x4); the small ones have data of their own.
    """
    if size == "tiny":
        return TrainConfig(network=TINY, training=TrainingConfig(rampup_nimg=0))
    small = {"digits": "digits/main", "digits-small": "digits/small"}
    name = small.get(size, f"imagenet{data}/{size.lower()}")
    if not (CONFIGS / f"{name}.yaml").exists():
        raise SystemExit(f"error: there is no configs/{name}.yaml; choose another --size or --data")
    parser = build_parser("benchmark", TRAIN["train"])
    namespace = parser.parse_args(["-c", str(CONFIGS / f"{name}.yaml")])
    namespace.pop("config", None)
    return TrainConfig(**vars(parser.instantiate(namespace)))


def shape(size: str, data: int) -> DataShape:
    """What the network of a size sees."""
    return DataShape(16, 3, 8, "tiny") if size == "tiny" else data_shape(config(size, data).data)


def make(size: str, data: int, device: torch.device, dtype: torch.dtype = torch.float32, seed: int = 0) -> Denoiser:
    """A denoiser with random normalised weights, in channels_last.

    Its gains are 0.7: at their initial 0 every network is the same, and parity would say nothing.
    """
    torch.manual_seed(seed)
    with device:
        net = Denoiser(*shape(size, data)[:3], config(size, data).network, dtype)
    return randomize(net).to(device, memory_format=torch.channels_last)


def randomize(net: Denoiser) -> Denoiser:
    """The same network, its random weights normalised and its gains 0.7."""
    for name, parameter in net.named_parameters():
        if name.endswith("gain"):
            parameter.data.fill_(0.7)
    normalize_weights_(net)
    return net


@cache
def forward_flops(size: str, data: int) -> int:
    """FLOPs of one evaluation of one image: 2 a multiply-add."""
    cfg = config(size, data)
    return 2 * multiply_adds(meta_denoiser(*shape(size, data)[:3], cfg.network))


def training_config(size: str, data: int, batch: int, **changes: object) -> TrainingConfig:
    """The recipe of a size with another batch, all at once, at its full learning rate, without snapshots on the way."""
    far = batch * 2**30
    settings: dict[str, object] = {"batch_size": batch, "batch_per_device": None, "rampup_nimg": 0}
    settings |= dict.fromkeys(("total_nimg", "snapshot_nimg", "checkpoint_nimg"), far)
    return replace(config(size, data).training, **settings | changes)  # type: ignore[arg-type]
