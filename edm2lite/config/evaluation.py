"""Settings of measuring: references, and metrics of images."""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields

from edm2lite.config.data import SD_VAE, DataConfig
from edm2lite.config.guidance import GuidanceConfig
from edm2lite.config.metrics import Metric, parse_metrics
from edm2lite.config.models import ModelRef
from edm2lite.config.sampling import SamplerConfig
from edm2lite.config.units import check_choice, check_range
from edm2lite.errors import UserError


@dataclass(frozen=True, kw_only=True)
class RefConfig:
    """Reference statistics of a dataset, of images, or from another project's file. Interrupted, the same command goes on.

    Started as several processes (torchrun, srun, --devices), each takes its share.

    Attributes:
        data: Dataset; all its images are used, once.
        images: Instead of a dataset: folder of PNGs, ZIP or NPZ.
        source: Instead: NVIDIA's .pkl, or ADM's or EDM's .npz, whose numbers are taken as they are.
        detectors: Feature extractors: inception, dinov2, digits, patches, MODULE:FACTORY; default: the bundled dataset's own,
            else inception and dinov2.
        detector_files: Local weights by detector, where there is no internet: '{inception: FILE, dinov2: FILE}'.
        features: Features kept beside the statistics, of so many images spread evenly: kd, prdc and fd_per_class need some.
        out: File to write (.npz).
        batch_size: Images that pass a detector together.
        device: cpu, cuda, cuda:1 or auto.
        devices: Processes to start on this machine, one for each GPU.
        shard: "I/N": only every N-th image from the I-th on, beside N - 1 other processes; default: as torchrun or srun say.
    """

    data: DataConfig = field(default_factory=DataConfig)
    images: str | None = None
    source: str | None = None
    detectors: tuple[str, ...] = ()
    detector_files: dict[str, str] = field(default_factory=dict)
    features: int = 10_000
    out: str = "ref.npz"
    batch_size: int = 64
    device: str = "auto"
    devices: int = 1
    shard: str | None = None

    def __post_init__(self) -> None:
        check_range("out", self.out.endswith(".npz"), self.out, "a file that ends in .npz")
        check_range("features", self.features >= 0, self.features, "0 or more")
        check_range("batch_size", self.batch_size > 0, self.batch_size, "positive")
        check_processes(self.devices, self.shard)
        check_detector_files(self.detector_files)
        named = {
            "data": self.data != DataConfig(),
            "images": self.images is not None,
            "source": self.source is not None,
        }
        if sum(named.values()) > 1:
            both = " and ".join(name for name, is_named in named.items() if is_named)
            raise UserError(
                f"{both} are given; a reference is made of one of data, images and source: leave out the others"
            )
        if not any(named.values()):
            raise UserError(
                "no images are named; give --data.name digits, --data.path DATASET, --images FOLDER or --source FILE"
            )
        if self.source is not None and (given := _changed(self, _OF_IMAGES)):
            raise UserError(
                f"{' and '.join(given)} have no part in taking the numbers of {self.source}; leave them out, or --source"
            )


_OF_IMAGES = ("detectors", "detector_files", "features", "batch_size", "device", "devices", "shard")


def _changed(cfg: object, names: Iterable[str]) -> list[str]:
    """Those of a configuration's settings that are not at their defaults."""
    defaults = {field.name: field for field in fields(cfg)}  # type: ignore[arg-type]
    made = {name: f.default if f.default_factory is MISSING else f.default_factory() for name, f in defaults.items()}
    return [name for name in names if getattr(cfg, name) != made[name]]


def check_detector_files(files: Mapping[str, str]) -> None:
    """Raise a UserError unless they are of detectors whose weights are published."""
    for name in files:
        check_choice("detector in detector_files", name, ("inception", "dinov2"))


def check_processes(devices: int, shard: str | None) -> None:
    """Raise a UserError unless `devices` is positive, and 1 if a shard is given."""
    check_range("devices", devices > 0, devices, "positive")
    if devices > 1 and shard is not None:
        raise UserError(f"devices is {devices} and shard is {shard}; leave one of the two out")


@dataclass(frozen=True, kw_only=True)
class MeasureConfig:
    """How images are made and measured: what metrics, tables and sweeps have in common.

    Attributes:
        ref: Reference statistics: .npz of `evaluate.py ref`, NVIDIA's .pkl, ADM's or EDM's .npz.
        metrics: fid, fd_dinov2, kid, kd_dinov2, is, prdc (precision, recall, density, coverage), prdc_dinov2, fid_per_class;
            fd, kd ... in the reference's only detector. Default: the Frechet distance in each of its detectors.
        detector_files: Local weights by detector, where there is no internet: '{inception: FILE, dinov2: FILE}'.
        features: Folder where features are kept, so that an interrupted command goes on, and further metrics need no new
            images; default: $EDM2LITE_CACHE/features.
        keep_features: Keep them when the numbers are there.
        batch_size: Images computed together.
        labels: Classes: uniform (drawn from the seed, as in the papers), or balanced (seed modulo the number of classes).
        precision: Of the UNet's activations: fp32, bf16, fp16. Detectors compute in fp32, unless metrics asks for another.
        compile: Compile the UNets; see sample.py.
        device: cpu, cuda, cuda:1 or auto.
        vae: Hub name or folder of the VAE, for models of latents.
        models: Folder of published models, for those named nvidia:...
    """

    ref: str = "ref.npz"
    metrics: tuple[str, ...] = ()
    detector_files: dict[str, str] = field(default_factory=dict)
    features: str | None = None
    keep_features: bool = True
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    batch_size: int = 64
    labels: str = "uniform"
    precision: str = "fp32"
    compile: bool = False
    device: str = "auto"
    vae: str = SD_VAE
    models: str | None = None

    def __post_init__(self) -> None:
        check_range("batch_size", self.batch_size > 0, self.batch_size, "positive")
        check_choice("precision", self.precision, ("fp32", "bf16", "fp16"))
        check_choice("labels", self.labels, ("uniform", "balanced"))
        check_detector_files(self.detector_files)
        self.parsed_metrics()

    def parsed_metrics(self) -> tuple[Metric, ...]:
        """The metrics by name; empty: the default, which depends on the reference."""
        return parse_metrics(self.metrics) if self.metrics else ()


@dataclass(frozen=True, kw_only=True)
class MetricsConfig(MeasureConfig):
    """Metrics of images: in a folder, ZIP or NPZ, or sampled on the fly. Interrupted, the same command goes on.

    Started as several processes (torchrun, srun, --devices), each takes its share of the images; the last one prints.

    Attributes:
        preset: A published pair, for example edm2-img512-s-autog-fid: configs/pairs/NAME.yaml, which other options override.
        images: Folder of PNGs, ZIP or NPZ, as sample.py writes them; excludes main.
        seeds: Seeds to sample, if a main model is given.
        num_images: Images a block; more are not used, fewer are an error. Default: all, split evenly into the blocks. Over
            files not named by seeds, which may be sorted by class, blocks are spread evenly.
        blocks: Blocks of images, each scored by itself: then minimum, mean and spread are known. The papers' FID is the minimum
            of three blocks of 50000.
        detector_precision: Of the detectors' layers: fp32, bf16, fp16. A half precision's features are used only if they change
            the Frechet distance of the first 2048 images by at most 1e-3 of it; the result says by how much.
        devices: Processes to start on this machine, one for each GPU.
        shard: "I/N": only every N-th image from the I-th on, beside N - 1 other processes; default: as torchrun or srun say.
        out: JSON file for the result, with everything that it depends on; default: only print it.
    """

    preset: str | None = None
    images: str | None = None
    main: ModelRef = field(default_factory=ModelRef)
    guide: ModelRef = field(default_factory=ModelRef)
    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    seeds: str = "0-49999"
    num_images: int | None = None
    blocks: int = 1
    detector_precision: str = "fp32"
    devices: int = 1
    shard: str | None = None
    out: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("num_images", self.num_images is None or self.num_images >= 2, self.num_images, "at least 2")
        check_range("blocks", self.blocks > 0, self.blocks, "positive")
        check_choice("detector_precision", self.detector_precision, ("fp32", "bf16", "fp16"))
        check_processes(self.devices, self.shard)
        if (self.images is None) == (self.main.path is None):
            raise UserError("metrics needs either --images FOLDER or --main.path MODEL; name exactly one")
        of_models = ("main", "guide", "guidance", "sampler", "seeds", "labels", "precision", "compile", "vae", "models")
        if self.images is not None and (given := _changed(self, of_models)):
            raise UserError(
                f"{' and '.join(given)} have no part in scoring a folder of images; leave them out, or --images"
            )
