"""Settings of sampling: which models, how combined, which solver."""

import math
from dataclasses import dataclass, field

from edm2lite.config.data import SD_VAE
from edm2lite.config.units import Nimg, check_choice, check_range
from edm2lite.errors import UserError


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

    def __post_init__(self) -> None:
        if self.path is None and (self.nimg is not None or self.ema is not None):
            raise UserError("nimg or ema of a model is set without its path; name the run directory, too")
        check_range(
            "ema", self.ema is None or 0 < self.ema < 0.2886, self.ema, "an EMA length sigma_rel in (0, 0.2886)"
        )


@dataclass(frozen=True, kw_only=True)
class GuidanceConfig:
    """How main and guide are combined.

    Attributes:
        weight: w in D_guide + w (D_main - D_guide); 1 (the default without a guide): the main model alone.
    """

    weight: float | None = None

    def __post_init__(self) -> None:
        check_range(
            "guidance.weight", self.weight is None or math.isfinite(self.weight), self.weight, "a finite number"
        )


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """EDM's Heun sampler (Karras et al. 2022, Algorithms 1 and 2).

    Attributes:
        num_steps: Noise levels; the network is evaluated 2 num_steps - 1 times.
        sigma_min: Lowest noise level.
        sigma_max: Highest noise level.
        rho: How much the levels gather at the low end.
        S_churn: Amount of fresh noise; 0: the deterministic sampler.
        S_min: Lowest noise level at which noise is added.
        S_max: Highest such level; .inf: no limit.
        S_noise: Factor on the added noise.
    """

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
        check_range("sampler.S_churn", self.S_churn >= 0, self.S_churn, "0 or more")
        check_range("sampler.sigma_max", self.sigma_max < float("inf"), self.sigma_max, "finite")
        check_range("sampler.rho", self.rho > 0, self.rho, "positive")
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
        vae: Hub name or folder of the VAE that decodes latents.
        shard: "I/N": only every N-th seed from the I-th on (I from 0), beside N - 1 other processes that fill the same outdir;
            default: as torchrun or srun say, else all.
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
    vae: str = SD_VAE
    shard: str | None = None

    def __post_init__(self) -> None:
        check_range("batch_size", self.batch_size > 0, self.batch_size, "positive")
        check_choice("precision", self.precision, ("fp32", "bf16", "fp16"))
