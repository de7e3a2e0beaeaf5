"""Everything that can be set, as frozen dataclasses. Imports no torch, so that `--help` answers at once.

One YAML file fills one of the three top-level classes: `TrainConfig`, `SampleConfig`, `TableConfig`. A value that is
derived from others is computed where it is used, never stored here.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from edm2lite.errors import UserError, unknown_name

_SUFFIXES = {"Gi": 2**30, "Mi": 2**20, "Ki": 2**10}


class Nimg(int):
    """A number of training images; reads and prints binary suffixes: Nimg("128Mi") == 134217728."""

    def __new__(cls, value: "int | str") -> "Nimg":
        match = re.fullmatch(r"(\d[\d_]*)(Ki|Mi|Gi)?", str(int(value)) if isinstance(value, int) else value.strip())
        if not match:
            raise UserError(f"{value!r} is not a number of images; write 2097152, 2048Ki or 2Mi")
        return super().__new__(cls, int(match[1]) * _SUFFIXES.get(match[2], 1))

    def __str__(self) -> str:
        for suffix, factor in _SUFFIXES.items():
            if self > 0 and self % factor == 0:
                return f"{int(self) // factor}{suffix}"
        return str(int(self))

    __repr__ = __str__


def parse_seeds(text: str) -> list[int]:
    """Seeds in the order given: "0-49999", "3,5,7" or a mix; inclusive ranges, no seed twice.

    Raises:
        UserError: If the text is malformed, holds no seed, or repeats one.
    """
    seeds: list[int] = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if not match:
            raise UserError(f"seeds {text!r}: cannot read {part!r}; write for example 0-49999 or 3,5,10-19")
        seeds.extend(range(int(match[1]), int(match[2] or match[1]) + 1))
    if not seeds:
        raise UserError(f"seeds {text!r} name no seed; at least one is needed, for example --seeds 0-63")
    if len(set(seeds)) != len(seeds):
        raise UserError(f"seeds {text!r} name a seed twice; name each once")
    return seeds


def plain(value: Any) -> Any:
    """The same as dicts, lists, strings and numbers, as YAML and JSON can hold them."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    return str(value) if isinstance(value, Nimg) or value == float("inf") else value


def check_choice(what: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise a UserError that lists the allowed values unless `value` is one of them."""
    if value not in allowed:
        raise unknown_name(what, value, allowed)


def check_range(what: str, ok: bool, value: object, allowed: str) -> None:
    """Raise a UserError "WHAT is VALUE; it must be ALLOWED" unless ok."""
    if not ok:
        raise UserError(f"{what} is {value}; it must be {allowed}")


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
        check_range("network.model_channels", self.model_channels > 0, self.model_channels, "positive")
        check_range("network.sigma_data", self.sigma_data > 0, self.sigma_data, "positive")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which images.

    Attributes:
        name: "digits" (scikit-learn's 1,797 handwritten digits, 8x8) or "patches" (16x16 RGB crops of its two photographs).
        conditional: Train with class labels.
        num_workers: Processes that prepare batches; 0: the training process itself.
    """

    name: str = "digits"
    conditional: bool = True
    num_workers: int = 0


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
        ref_lr: Learning rate before the decay.
        ref_batches: Steps after which it decays as 1/sqrt(nimg); 0: never.
        rampup_nimg: Linear warm-up, in images; 0: none.
        betas: Adam's decay rates.
        ema_sigma_rel: Lengths of the tracked EMA profiles.
        snapshot_nimg: Distance between snapshots of the EMA profiles.
        checkpoint_nimg: Distance between checkpoints for resuming.
        precision: Of the UNet's activations: fp32, bf16 or fp16. Weights, loss and EMA are always float32.
        loss_scaling: Constant factor on the loss, for fp16.
        nonfinite_gradients: "error" stops before the update; "zero" replaces them by 0 and counts them in the log.
    """

    seed: int = 0
    total_nimg: Nimg = Nimg("2048Mi")
    batch_size: int = 2048
    batch_per_device: int | None = None
    P_mean: float = -0.4
    P_std: float = 1.0
    ref_lr: float = 0.01
    ref_batches: float = 70000
    rampup_nimg: Nimg = Nimg(10_000_000)
    betas: tuple[float, float] = (0.9, 0.99)
    ema_sigma_rel: tuple[float, ...] = (0.05, 0.10)
    snapshot_nimg: Nimg = Nimg("8Mi")
    checkpoint_nimg: Nimg = Nimg("64Mi")
    precision: str = "fp32"
    loss_scaling: float = 1.0
    nonfinite_gradients: str = "error"

    def __post_init__(self) -> None:
        check_choice("training.precision", self.precision, ("fp32", "bf16", "fp16"))
        check_choice("training.nonfinite_gradients", self.nonfinite_gradients, ("error", "zero"))
        check_range("training.batch_size", self.batch_size > 0, self.batch_size, "positive")
        check_range("training.seed", 0 <= self.seed < 2**63, self.seed, "in [0, 2^63)")
        check_range("training.P_std", self.P_std > 0, self.P_std, "positive")
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
        strategy: auto or ddp.
    """

    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"

    def __post_init__(self) -> None:
        check_choice("trainer.accelerator", self.accelerator, ("auto", "cpu", "gpu"))
        check_choice("trainer.strategy", self.strategy, ("auto", "ddp"))
        check_range("trainer.devices", self.devices > 0, self.devices, "positive")


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
    """

    run_dir: str = "runs/train"
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)


@dataclass(frozen=True, kw_only=True)
class ModelRef:
    """A model: a run directory + nimg + EMA length, or a file.

    Attributes:
        path: Run directory, snapshot file (.safetensors) or NVIDIA snapshot (.pkl).
        nimg: Which snapshot of a run directory, for example 128Mi; default: the last.
        ema: EMA length sigma_rel, by post-hoc reconstruction; default for a run directory: the shortest stored.
    """

    path: str | None = None
    nimg: Nimg | None = None
    ema: float | None = None

    def __str__(self) -> str:
        return f"{self.path}" + f"@{self.nimg}" * (self.nimg is not None) + f" ema {self.ema}" * (self.ema is not None)


@dataclass(frozen=True, kw_only=True)
class GuidanceConfig:
    """How main and guide are combined.

    Attributes:
        weight: w in D_guide + w (D_main - D_guide); 1 (the default without a guide): the main model alone.
    """

    weight: float | None = None


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """EDM's Heun sampler (Karras et al. 2022, Algorithms 1 and 2)."""

    num_steps: int = 32
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0
    S_churn: float = 0.0
    S_min: float = 0.0
    S_max: float = float("inf")
    S_noise: float = 1.0

    def __post_init__(self) -> None:
        check_range("sampler.num_steps", self.num_steps >= 2, self.num_steps, "at least 2")
        ok = 0 < self.sigma_min < self.sigma_max
        check_range("sampler.sigma_min", ok, self.sigma_min, f"positive and below sigma_max ({self.sigma_max})")


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """Images from a main model and, optionally, a guide. Interrupted, the same command goes on.

    Attributes:
        seeds: Seeds, for example 0-49999 or 3,5,10-19; an image depends on its seed alone.
        outdir: Where the images go: 000000/000123.png, contact_sheet.png, manifest.json.
        batch_size: Images computed together.
        label: One class for all images; default: drawn from the seed.
        device: cpu, cuda, cuda:1 or auto.
        precision: Of the UNet's activations: fp32, bf16, fp16.
    """

    seeds: str = "0-63"
    outdir: str = "out"
    main: ModelRef = field(default_factory=ModelRef)
    guide: ModelRef = field(default_factory=ModelRef)
    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    batch_size: int = 64
    label: int | None = None
    device: str = "auto"
    precision: str = "fp32"

    def __post_init__(self) -> None:
        check_range("batch_size", self.batch_size > 0, self.batch_size, "positive")
        check_choice("precision", self.precision, ("fp32", "bf16", "fp16"))


@dataclass(frozen=True, kw_only=True)
class RefConfig:
    """Reference statistics of a dataset.

    Attributes:
        data: Dataset; all its images are used, once.
        out: File to write (.npz).
    """

    data: DataConfig = field(default_factory=DataConfig)
    out: str = "ref.npz"


@dataclass(frozen=True, kw_only=True)
class MetricsConfig:
    """Frechet distance of images in a folder, or of images sampled on the fly, to reference statistics.

    Attributes:
        ref: Reference statistics (.npz).
        images: Folder of PNGs, as sample.py writes it; excludes main.
        seeds: Seeds to sample, if a main model is given.
        batch_size: Images computed together.
        device: cpu, cuda, cuda:1 or auto.
        out: JSON file for the result; default: only print it.
    """

    ref: str = "ref.npz"
    images: str | None = None
    main: ModelRef = field(default_factory=ModelRef)
    guide: ModelRef = field(default_factory=ModelRef)
    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    seeds: str = "0-49999"
    batch_size: int = 64
    device: str = "auto"
    out: str | None = None


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A pair and the row of settings to try: all combinations of the three lists.

    Attributes:
        name: How the table calls it.
        guide: The guide's run directory and nimg, or its file; without a path the row is the main model alone.
        main_ema: EMA lengths of the main model.
        guide_ema: EMA lengths of the guide.
        weights: Guidance weights.
    """

    name: str
    guide: ModelRef = field(default_factory=ModelRef)
    main_ema: tuple[float, ...] = (0.05,)
    guide_ema: tuple[float, ...] = (0.05,)
    weights: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        alone = self.guide.path is None
        ok = self.weights == (1.0,) if alone else 1.0 not in self.weights
        check_range(f"weights of row {self.name!r}", ok, list(self.weights), "1 without a guide, other than 1 with one")


@dataclass(frozen=True, kw_only=True)
class TableConfig:
    """Table of the Frechet distance over pairs, EMA lengths and guidance weights.

    Attributes:
        title: Heading.
        outdir: Where results.json, table.md and table.csv go; finished cells are kept and not computed again.
        ref: Reference statistics (.npz).
        main: The main model's run directory and nimg.
        rows: What to try.
        num_images: Images a cell and block.
        blocks: Disjoint blocks of seeds; the table gives mean and standard deviation over them.
        first_seed: First seed of the first block.
        confirm: Score the best row alone and the best guided one again, on blocks of fresh seeds.
        batch_size: Images computed together.
        device: cpu, cuda, cuda:1 or auto.
    """

    title: str = "Frechet distance"
    outdir: str = "runs/table"
    ref: str = "ref.npz"
    main: ModelRef = field(default_factory=ModelRef)
    rows: tuple[TableRow, ...] = ()
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    num_images: int = 1000
    blocks: int = 3
    first_seed: int = 0
    confirm: bool = True
    batch_size: int = 250
    device: str = "auto"

    def __post_init__(self) -> None:
        check_range("blocks", self.blocks >= 2, self.blocks, "at least 2: the spread is over blocks")
        check_range("num_images", self.num_images >= 2, self.num_images, "at least 2")


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """One self-contained HTML file from finished tables.

    Attributes:
        tables: Output directories of tables.
        out: File to write (.html).
        title: Heading.
        seeds: Seeds of the pictures that show the same images at rising weight.
    """

    tables: tuple[str, ...] = ()
    out: str = "report.html"
    title: str = "edm2lite report"
    seeds: str = "0-15"
