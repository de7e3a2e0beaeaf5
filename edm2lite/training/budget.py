"""What a training run needs of memory and time, from shapes and data sheets alone."""

from pathlib import Path
from typing import NamedTuple

from edm2lite.config import DataConfig, TrainConfig
from edm2lite.data.datasets import load_dataset
from edm2lite.errors import UserError
from edm2lite.network.cost import count_parameters, kept_bytes, largest_block, meta_denoiser, multiply_adds
from edm2lite.network.precision import DTYPES
from edm2lite.training.devices import Device, published_utilisation
from edm2lite.training.rundir import check_batch

FILL = 0.9  # of a device's memory; the rest is for workspaces, tensors that come and go, and fragmentation


class DataShape(NamedTuple):
    """What the network sees of a dataset, and what the dataset is."""

    img_resolution: int
    img_channels: int
    label_dim: int
    description: str


def data_shape(cfg: DataConfig) -> DataShape:
    """Shape of the data; of ImageNet that is not there yet, by its name.

    Raises:
        UserError: If the dataset does not exist and its name does not tell either.
    """
    if cfg.path is None or Path(cfg.path).exists():
        d = load_dataset(cfg)
        return DataShape(d.img_resolution, d.img_channels, d.label_dim, d.name)
    name, label_dim = Path(cfg.path).name, 1000 if cfg.conditional else 0
    if "512" in name:
        return DataShape(64, 4, label_dim, f"latents of ImageNet-512, going by the name ({cfg.path} does not exist)")
    if "64" in name:
        return DataShape(64, 3, label_dim, f"ImageNet-64, going by the name ({cfg.path} does not exist)")
    raise UserError(
        f"data.path {cfg.path} does not exist, and its name holds neither 512 nor 64 to tell the shape of the images; "
        "make the dataset with edm2lite data convert, or estimate with --data.path imagenet64 or imagenet512"
    )


def training_flops(multiply_adds: float, recompute: bool) -> float:
    """FLOPs of forward and backward: 2 a multiply-add, the backward twice the forward; `recompute` adds another forward."""
    return 2 * multiply_adds * (4 if recompute else 3)


def images_per_second(flops: float, devices: int, peak: float, utilisation: float) -> float:
    """Speed where an image takes `flops` and each device does `utilisation` of its `peak`, in FLOP/s."""
    return devices * peak * utilisation / flops


def replicated_bytes(parameters: int, profiles: int, ranks: int) -> int:
    """Bytes a device of weights, gradients, Adam's two moments and `profiles` averages, in float32.

    Several ranks hold the gradients once more, in DDP's buckets.
    """
    return 4 * parameters * (4 + profiles + (ranks > 1))


def sharded_bytes(parameters: int, profiles: int, ranks: int, block: int, accumulates: bool) -> int:
    """The same under FSDP2, where each rank holds its part of everything.

    Whole are the block in use (`block` parameters: its weights, its gradients, the weights of the next) and, in a step of
    several micro-batches (`accumulates`), all gradients.
    """
    gradients = 4 * parameters if accumulates else 4 * parameters // ranks
    return gradients + 4 * parameters * (3 + profiles) // ranks + 3 * 4 * block


class Setup(NamedTuple):
    """The settings by which a run is made to fit."""

    batch_per_device: int
    recompute: bool
    fsdp: bool


class Budget:
    """What one configuration needs on one kind of device.

    Args:
        cfg: Configuration.
        shape: Of the data.
        device: It runs on.

    Attributes:
        ranks: Number of devices.
        parameters, multiply_adds: Of the network; the latter of one forward of one image.
        flops: To train on one image.
        utilisation: Assumed share of the peak: the published one.

    Raises:
        UserError: If the batch does not divide over the devices.
    """

    def __init__(self, cfg: TrainConfig, shape: DataShape, device: Device):
        t = cfg.training
        self.cfg, self.shape, self.device = cfg, shape, device
        self.ranks = check_batch(cfg)
        self._share = t.batch_size // self.ranks
        micro = min(t.batch_per_device or self._share, self._share)
        self.setup = Setup(micro, t.activation_checkpointing, cfg.trainer.strategy == "fsdp")
        self._net = meta_denoiser(*shape[:3], cfg.network, DTYPES[t.precision])
        self.parameters, self.multiply_adds = count_parameters(self._net), multiply_adds(self._net)
        self.flops = training_flops(self.multiply_adds, t.activation_checkpointing)
        self.utilisation = published_utilisation(self.multiply_adds)

    @property
    def peak(self) -> float:
        """Of a device in the configured precision, in FLOP/s."""
        return 1e12 * (self.device.fp32 if self.cfg.training.precision == "fp32" else self.device.tensor)

    @property
    def speed(self) -> float:
        """Images a second."""
        return images_per_second(self.flops, self.ranks, self.peak, self.utilisation)

    @property
    def hours(self) -> float:
        """Length of the whole run."""
        return self.cfg.training.total_nimg / self.speed / 3600

    def memory(self, setup: Setup) -> tuple[int, int]:
        """Bytes a device: of weights and all that goes with them, and of what is kept for the backward."""
        profiles, accumulates = len(self.cfg.training.ema_sigma_rel), setup.batch_per_device < self._share
        state = replicated_bytes(self.parameters, profiles, self.ranks)
        if setup.fsdp:
            state = sharded_bytes(self.parameters, profiles, self.ranks, largest_block(self._net), accumulates)
        return state, kept_bytes(self._net, setup.batch_per_device, setup.recompute)

    def fits(self, setup: Setup) -> bool:
        """Whether a device can hold it."""
        return sum(self.memory(setup)) <= FILL * self.device.memory * 2**30

    def next_step(self) -> str:
        """Options with which a run that does not fit would: fewer images at a time, else recomputing, else sharding."""
        micro, recompute, fsdp = self.setup
        alternatives = (
            Setup(micro >> halvings, again, shard)
            for shard in sorted({fsdp, self.ranks > 1 or fsdp})
            for again in sorted({recompute, True})
            for halvings in range(micro.bit_length())
        )
        found = next(filter(self.fits, alternatives), None)
        if found is None:
            return "devices with more memory, or more of them under --trainer.strategy fsdp"
        options = {
            f"--training.batch_per_device {found.batch_per_device}": found.batch_per_device != micro,
            "--training.activation_checkpointing true": found.recompute != recompute,
            "--trainer.strategy fsdp": found.fsdp != fsdp,
        }
        return " ".join(option for option, changed in options.items() if changed)
