"""Settings of a training run."""

from dataclasses import dataclass, field

from edm2lite.config.data import DataConfig
from edm2lite.config.units import Nimg, check_choice, check_range
from edm2lite.config.watching import WatchConfig
from edm2lite.errors import UserError


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Architecture of the denoiser, under the published names; the defaults are EDM2-S.

    Attributes:
        sigma_data: Standard deviation of the encoded data.
        model_channels: Width of the finest level; sets the model's size.
        channel_mult: Width of each level as a multiple of model_channels.
        channel_mult_noise: Width of the noise features as such a multiple; None: that of the finest level.
        channel_mult_emb: Width of the embedding as such a multiple; None: that of the widest level.
        num_blocks: Residual blocks a level (the decoder has one more).
        attn_resolutions: Resolutions whose blocks attend.
        label_balance: Weight of the label against the noise level in the embedding.
        concat_balance: Weight of the skip connection against the main path in the decoder.
        resample_filter: Taps of the separable resampling filter.
        channels_per_head: Channels of an attention head; a block with fewer does not attend.
        dropout: Dropout probability in training.
        res_balance: Weight of the residual branch.
        attn_balance: Weight of the attention branch.
        clip_act: Activations are clipped to +-clip_act; None: not at all.
        logvar_channels: Fourier features of the uncertainty u(sigma).
    """

    sigma_data: float = 0.5
    model_channels: int = 192
    channel_mult: tuple[int, ...] = (1, 2, 3, 4)
    channel_mult_noise: int | None = None
    channel_mult_emb: int | None = None
    num_blocks: int = 3
    attn_resolutions: tuple[int, ...] = (16, 8)
    label_balance: float = 0.5
    concat_balance: float = 0.5
    resample_filter: tuple[float, ...] = (1, 1)
    channels_per_head: int = 64
    dropout: float = 0.0
    res_balance: float = 0.3
    attn_balance: float = 0.3
    clip_act: float | None = 256
    logvar_channels: int = 128

    def __post_init__(self) -> None:
        check_range("network.dropout", 0 <= self.dropout < 1, self.dropout, "in [0, 1)")
        for name in ("model_channels", "num_blocks", "channels_per_head", "logvar_channels"):
            check_range(f"network.{name}", getattr(self, name) > 0, getattr(self, name), "positive")
        ok = len(self.channel_mult) > 0 and min(self.channel_mult) > 0
        check_range("network.channel_mult", ok, list(self.channel_mult), "a list of positive numbers")
        taps = self.resample_filter
        check_range(
            "network.resample_filter", len(taps) > 0 and len(taps) % 2 == 0, list(taps), "an even number of taps"
        )
        check_range("network.sigma_data", self.sigma_data > 0, self.sigma_data, "positive")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The recipe (Karras et al. 2024a, Table 6); numbers of images take suffixes such as 8Mi.

    Attributes:
        seed: Seed of initial weights, data order and noise.
        total_nimg: Length of the training, in images; a multiple of batch_size.
        batch_size: Images an optimizer step, over all devices.
        batch_per_device: Images a device holds at a time (gradients accumulate over the rest); None: all its share.
        P_mean: Mean of ln(sigma).
        P_std: Standard deviation of ln(sigma).
        nu: Degrees of freedom, above 2: train on heavy-tailed (Student-t) noise, to make a guide; None: on Gaussian noise.
        ref_lr: Learning rate before the decay.
        ref_batches: Steps after which it decays as 1/sqrt(nimg); 0: never.
        rampup_nimg: Linear warm-up, in images; 0: none.
        betas: Adam's decay rates.
        ema_sigma_rel: Lengths of the tracked EMA profiles.
        snapshot_nimg: Distance between snapshots of the EMA profiles.
        checkpoint_nimg: Distance between checkpoints for resuming.
        precision: Of the UNet's activations: fp32, bf16 or fp16. Weights, loss and EMA are always float32.
        activation_checkpointing: Keep only the inputs of each block for the backward pass and compute the rest again: a
            fraction of the memory for about a third more work, and the same numbers.
        compile: Compile the network (torch.compile; under fsdp block by block): faster after a while of compiling, whose result
            is kept. The numbers are those of without to rounding, so a run stays compiled or not. Resumed on a CPU it is bit
            for bit the uninterrupted one; on a GPU it must have the same compiled code for that, so keep the cache.
        attention: Kernel by which blocks attend: auto (torch's choice), flash, efficient, cudnn or math. The numbers agree to
            rounding; --find_batch measures them.
        loss_scaling: Constant factor on the loss, for fp16.
        nonfinite_gradients: "error" stops, also at such a loss, before anything is written that has seen them; "zero" replaces
            them by 0 and counts them in the log, as the published trainings in fp16 did.
    """

    seed: int = 0
    total_nimg: Nimg = Nimg("2048Mi")
    batch_size: int = 2048
    batch_per_device: int | None = None
    P_mean: float = -0.4
    P_std: float = 1.0
    nu: float | None = None
    ref_lr: float = 0.01
    ref_batches: float = 70000
    rampup_nimg: Nimg = Nimg(10_000_000)
    betas: tuple[float, float] = (0.9, 0.99)
    ema_sigma_rel: tuple[float, ...] = (0.05, 0.10)
    snapshot_nimg: Nimg = Nimg("8Mi")
    checkpoint_nimg: Nimg = Nimg("64Mi")
    precision: str = "fp32"
    activation_checkpointing: bool = False
    compile: bool = False
    attention: str = "auto"
    loss_scaling: float = 1.0
    nonfinite_gradients: str = "error"

    def __post_init__(self) -> None:
        check_choice("training.precision", self.precision, ("fp32", "bf16", "fp16"))
        check_choice("training.attention", self.attention, ("auto", "flash", "efficient", "cudnn", "math"))
        check_choice("training.nonfinite_gradients", self.nonfinite_gradients, ("error", "zero"))
        check_range("training.batch_size", self.batch_size > 0, self.batch_size, "positive")
        micro = self.batch_per_device
        check_range(
            "training.batch_per_device", micro is None or micro > 0, micro, "positive, or absent for all at once"
        )
        check_range("training.loss_scaling", self.loss_scaling > 0, self.loss_scaling, "positive")
        check_range("training.seed", 0 <= self.seed < 2**63, self.seed, "in [0, 2^63)")
        check_range("training.P_std", self.P_std > 0, self.P_std, "positive")
        ok = self.nu is None or 2 < self.nu < float("inf")
        check_range("training.nu", ok, self.nu, "above 2 (with 2 or less the noise has no variance), or absent")
        for name in ("total_nimg", "snapshot_nimg", "checkpoint_nimg"):
            value = getattr(self, name)
            check_range(
                f"training.{name}", value > 0 and value % self.batch_size == 0, value,
                f"a positive multiple of training.batch_size ({self.batch_size})",
            )  # fmt: skip
        check_range("training.ema_sigma_rel", len(self.ema_sigma_rel) > 0, self.ema_sigma_rel, "at least one length")
        for sigma_rel in self.ema_sigma_rel:
            check_range("training.ema_sigma_rel", 0 < sigma_rel < 0.289, sigma_rel, "in (0, 0.289)")


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """Where it runs (Lightning's Trainer).

    Attributes:
        accelerator: auto, cpu, gpu.
        devices: Devices a node.
        num_nodes: Nodes.
        strategy: ddp (every device holds the model), fsdp (weights, optimizer and EMA sharded over the devices: FSDP2), or
            auto: ddp if there is more than one device.
        lock: Keep a second training out of the run directory; false only where the file system has no locks.
    """

    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"
    lock: bool = True

    def __post_init__(self) -> None:
        check_choice("trainer.accelerator", self.accelerator, ("auto", "cpu", "gpu"))
        check_choice("trainer.strategy", self.strategy, ("auto", "ddp", "fsdp"))
        check_range("trainer.devices", self.devices > 0, self.devices, "positive")
        check_range("trainer.num_nodes", self.num_nodes > 0, self.num_nodes, "positive")


@dataclass(frozen=True, kw_only=True)
class LoggingConfig:
    """What is written beside the snapshots; `metrics.csv` always.

    Attributes:
        every_nimg: Distance between log lines, in images.
        progress_bar: Show rate, loss, learning rate and time left.
        tensorboard: Also write TensorBoard events (extra: tensorboard).
        wandb: "off", "offline" or "online" (extra: wandb).
        wandb_project: Name of the W&B project.
    """

    every_nimg: Nimg = Nimg("128Ki")
    progress_bar: bool = True
    tensorboard: bool = False
    wandb: str = "off"
    wandb_project: str = "edm2lite"

    def __post_init__(self) -> None:
        check_choice("logging.wandb", self.wandb, ("off", "offline", "online"))
        check_range("logging.every_nimg", self.every_nimg > 0, self.every_nimg, "positive")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run; to resume it, run the same command.

    Attributes:
        run_dir: Directory of the run: its config, log, checkpoints and snapshots.
        task: What is trained: denoiser, or classifier (of noisy images, for classifier guidance; it takes the encoder's half of
            the network).
        init_from: Fine-tune: begin with the weights of this model (run directory, snapshot or NVIDIA's .pkl) instead of random
            ones; a label layer of another size is made anew.
        estimate: Print parameters, memory, FLOPs, hours and energy on this device (for example h100), and stop.
        find_batch: Measure speed and memory of micro-batches, activation checkpointing and attention kernels here,
            print the options to set, and stop.
    """

    run_dir: str = "runs/train"
    task: str = "denoiser"
    init_from: str | None = None
    estimate: str | None = None
    find_batch: bool = False
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    watch: WatchConfig = field(default_factory=WatchConfig)

    def __post_init__(self) -> None:
        check_choice("task", self.task, ("denoiser", "classifier"))
        if self.task == "classifier" and not self.data.conditional:
            raise UserError(
                "task is classifier but data.conditional is false, and a classifier needs labels; set one of them back"
            )
        if self.watch.on:
            self._check_watch()

    def _check_watch(self) -> None:
        """Raise a UserError unless what is to be watched is there to be watched."""
        every, batch, lengths = self.watch.every_nimg, self.training.batch_size, self.training.ema_sigma_rel
        if self.task != "denoiser":
            raise UserError(f"task is {self.task}, which makes no images to watch; leave watch.every_nimg out")
        check_range(
            "watch.every_nimg", every is not None and every % batch == 0, every,
            f"a positive multiple of training.batch_size ({batch})",
        )  # fmt: skip
        ema = self.watch.ema
        check_range("watch.ema", ema is None or ema in lengths, ema, f"one of training.ema_sigma_rel: {list(lengths)}")

    @property
    def watched_ema(self) -> float:
        """EMA length that is watched."""
        return self.training.ema_sigma_rel[0] if self.watch.ema is None else self.watch.ema
