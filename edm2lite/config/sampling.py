"""Settings of sampling: which solver, which seeds, where to."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from edm2lite.config.data import SD_VAE
from edm2lite.config.guidance import GuidanceConfig
from edm2lite.config.models import ModelRef
from edm2lite.config.units import check_choice, check_range
from edm2lite.errors import UserError

SOLVERS = ("heun", "euler", "dpmpp_2m", "dpmpp_2s", "deis", "unipc", "ancestral")
FORMATS = ("png", "zip", "npz")


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """Noise levels and solver.

    Attributes:
        solver: heun (Karras et al. 2022, Algorithms 1 and 2), euler, dpmpp_2m and dpmpp_2s (DPM-Solver++), deis (Zhang and Chen
            2022, third order in ln sigma), unipc (Zhao et al. 2023, UniPC-3), or ancestral (Ho and Salimans 2022).
        num_steps: Noise levels; heun and dpmpp_2s evaluate the network 2 num_steps - 1 times, the others num_steps times.
        sigma_min: Lowest noise level.
        sigma_max: Highest noise level.
        rho: How much the levels gather at the low end.
        sigmas: The noise levels themselves, falling, the last above 0; instead of the four numbers above.
        S_churn: Amount of fresh noise (heun, euler); 0: deterministic.
        S_min: Lowest noise level at which noise is added.
        S_max: Highest such level; .inf: no limit.
        S_noise: Factor on the added noise.
        v: Variance of the ancestral sampler, between its lower (0) and upper (1) bound.
    """

    solver: str = "heun"
    num_steps: int = 32
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0
    sigmas: tuple[float, ...] | None = None
    S_churn: float = 0.0
    S_min: float = 0.0
    S_max: float = float("inf")
    S_noise: float = 1.0
    v: float = 0.3

    def __post_init__(self) -> None:
        check_choice("sampler.solver", self.solver, SOLVERS)
        check_range("sampler.num_steps", self.num_steps >= 2, self.num_steps, "at least 2")
        check_range("sampler.S_churn", self.S_churn >= 0, self.S_churn, "0 or more")
        check_range("sampler.sigma_max", self.sigma_max < float("inf"), self.sigma_max, "finite")
        check_range("sampler.rho", self.rho > 0, self.rho, "positive")
        check_range("sampler.v", 0 <= self.v <= 1, self.v, "in [0, 1]")
        ok = 0 < self.sigma_min < self.sigma_max
        check_range("sampler.sigma_min", ok, self.sigma_min, f"positive and below sigma_max ({self.sigma_max})")
        if self.S_churn > 0 and self.solver not in ("heun", "euler"):
            raise UserError(
                f"sampler.S_churn is {self.S_churn} but sampler.solver {self.solver} takes none; "
                "use heun or euler, or S_churn 0"
            )
        if self.v != SamplerConfig.v and self.solver != "ancestral":
            raise UserError(
                f"sampler.v is {self.v} but sampler.solver {self.solver} takes none; use ancestral, or leave v out"
            )
        if self.S_churn == 0:
            for name in self._given("S_min", "S_max", "S_noise"):
                raise UserError(
                    f"sampler.{name} is {getattr(self, name)} but sampler.S_churn is 0, so that no noise is added; "
                    f"set S_churn, or leave {name} out"
                )
        if self.sigmas is not None:
            check_sigmas("sampler.sigmas", self.sigmas)
            for name in self._given("num_steps", "sigma_min", "sigma_max", "rho"):
                raise UserError(
                    f"sampler.sigmas is given and sampler.{name} is {getattr(self, name)}, too; leave one of the two out"
                )

    def _given(self, *names: str) -> list[str]:
        """Those of the settings that are not at their defaults."""
        return [name for name in names if getattr(self, name) != self.__dataclass_fields__[name].default]


def check_sigmas(what: str, sigmas: Sequence[float]) -> None:
    """Raise a UserError unless a solver can walk these noise levels: at least two that fall, finite and above 0."""
    falling = all(a > b for a, b in pairwise(sigmas))
    ok = len(sigmas) >= 2 and falling and sigmas[-1] > 0 and sigmas[0] < float("inf")
    check_range(what, ok, list(sigmas), "at least two falling noise levels above 0 (0 itself is added)")


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """Images from a main model and, optionally, guides. Interrupted, the same command goes on.

    Attributes:
        preset: A published pair, for example edm2-img512-s-autog-fid: configs/pairs/NAME.yaml, which other options override.
        models: Folder with NVIDIA's files, or with run directories of imported ones, for models named nvidia:...; what it
            lacks is downloaded.
        seeds: Seeds, for example 0-49999 or 3,5,10-19; an image depends on its seed alone.
        outdir: Where the images go, with contact_sheet.png and manifest.json.
        format: png (000000/000123.png), zip (one stored archive of these), or npz (ADM's: arr_0, and labels in arr_1).
        latents: Keep what the sampler made, before decoding, too (float32 .npy).
        batch_size: Images computed together.
        label: One class for all images.
        labels: Otherwise: uniform (drawn from the seed, as in the papers), or balanced (seed modulo the number of classes).
        device: cpu, cuda, cuda:1 or auto.
        devices: Processes to start on this machine, one for each GPU, that share the seeds.
        precision: Of the UNet's activations: fp32, bf16, fp16.
        compile: Compile the networks (torch.compile, on a GPU with CUDA graphs): faster after a while of compiling, whose
            result is kept. The images are the same to rounding.
        vae: Hub name or folder of the VAE that decodes latents.
        shard: "I/N": only every N-th seed from the I-th on (I from 0), beside N - 1 other processes that fill the same outdir;
            default: as torchrun or srun say, else all.
        weights_sheet: Also write weights_sheet.png: the first seeds at each of these guidance weights, a row each.
        compare_sheet: Also write compare_sheet.png: the first seeds from main, guide and both.
        trajectory: Also write trajectory.gif: the denoised images of this many seeds along the noise levels.
    """

    preset: str | None = None
    models: str | None = None
    seeds: str = "0-63"
    outdir: str = "out"
    format: str = "png"
    latents: bool = False
    main: ModelRef = field(default_factory=ModelRef)
    guide: ModelRef = field(default_factory=ModelRef)
    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    batch_size: int = 64
    label: int | None = None
    labels: str = "uniform"
    device: str = "auto"
    devices: int = 1
    precision: str = "fp32"
    compile: bool = False
    vae: str = SD_VAE
    shard: str | None = None
    weights_sheet: tuple[float, ...] = ()
    compare_sheet: bool = False
    trajectory: int = 0

    def __post_init__(self) -> None:
        check_range("batch_size", self.batch_size > 0, self.batch_size, "positive")
        check_choice("precision", self.precision, ("fp32", "bf16", "fp16"))
        check_choice("format", self.format, FORMATS)
        check_choice("labels", self.labels, ("uniform", "balanced"))
        check_range("devices", self.devices > 0, self.devices, "positive")
        check_range("trajectory", self.trajectory >= 0, self.trajectory, "0 or more")
        if self.label is not None and self.labels != "uniform":
            raise UserError(f"label is {self.label} and labels is {self.labels}; leave one of the two out")
        if self.devices > 1 and self.shard is not None:
            raise UserError(f"devices is {self.devices} and shard is {self.shard}; leave one of the two out")
