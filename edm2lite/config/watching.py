"""Settings of looking at a run while it trains."""

from dataclasses import dataclass, field

from edm2lite.config.data import SD_VAE
from edm2lite.config.guidance import GuidanceConfig, GuideConfig, WeightConfig, all_guides
from edm2lite.config.metrics import parse_metrics
from edm2lite.config.models import ModelRef
from edm2lite.config.sampling import SamplerConfig
from edm2lite.config.units import Nimg, check_range, parse_seeds
from edm2lite.errors import UserError


@dataclass(frozen=True, kw_only=True)
class WatchConfig:
    """A sheet of images, and metrics of few, from the EMA while it trains; the training goes on bit for bit as without.

    Written to run_dir/watch/NIMG.png, run_dir/watch.csv, TensorBoard and W&B. Distances of few images are larger than those of
    50000: they are for comparing one point of the run with the next.

    Attributes:
        every_nimg: Distance between two looks, in images, a multiple of training.batch_size; also at the end. 0, absent: none.
        ema: EMA length, one of training.ema_sigma_rel; default: the first of them.
        seeds: Seeds, the same at every look, shared by all devices.
        sheet: So many of them, the first ones, are shown on the sheet; 0: no sheet.
        ref: Reference statistics (evaluate.py ref); default: nothing is measured, and only the images of the sheet are made.
        metrics: fid, fd_dinov2, kid ... as for evaluate.py metrics; default: the Frechet distance in the reference's detectors.
        detector_files: Local weights by detector, where there is no internet: '{inception: FILE, dinov2: FILE}'.
        guide: A guide: any model of the same kind of images; guidance.weight says how strongly it guides.
        guidance: Weight of the guide, its interval and schedule.
        sampler: Noise levels and solver.
        batch_size: Images that a device computes together.
        vae: Hub name or folder of the VAE, for models of latents.
        models: Folder of published models, for a guide named nvidia:...
    """

    every_nimg: Nimg | None = None
    ema: float | None = None
    seeds: str = "0-999"
    sheet: int = 64
    ref: str | None = None
    metrics: tuple[str, ...] = ()
    detector_files: dict[str, str] = field(default_factory=dict)
    guide: ModelRef = field(default_factory=ModelRef)
    guidance: WeightConfig = field(default_factory=WeightConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    batch_size: int = 64
    vae: str = SD_VAE
    models: str | None = None

    def __post_init__(self) -> None:
        check_range("watch.batch_size", self.batch_size > 0, self.batch_size, "positive")
        check_range("watch.sheet", self.sheet >= 0, self.sheet, "0 or more")
        self._check_asked()
        self.guides()
        seeds = len(self.parsed_seeds())
        check_range("watch.sheet", self.sheet <= seeds, self.sheet, f"at most {seeds}, the number of watch.seeds")
        check_range("watch.seeds", self.ref is None or seeds >= 2, self.seeds, "at least 2 seeds, to measure them")
        if self.metrics:
            parse_metrics(self.metrics)

    def _check_asked(self) -> None:
        """Raise a UserError if something is asked for that would not happen."""
        for name, given in (("ref", self.ref), ("guide.path", self.guide.path)):
            if given is not None and self.every_nimg is None:
                raise UserError(
                    f"watch.{name} is given but watch.every_nimg is not, so nothing is watched; give it (0: watch nothing)"
                )
        if self.metrics and self.ref is None:
            raise UserError(
                f"watch.metrics is {list(self.metrics)} but there is nothing to measure against; give watch.ref"
            )
        if not self.sheet and self.ref is None and self.on:
            raise UserError("watch.sheet is 0 and watch.ref is not given: nothing would be made; set one of them")

    @property
    def on(self) -> bool:
        """Whether anything is watched."""
        return bool(self.every_nimg)

    def parsed_seeds(self) -> list[int]:
        """The seeds in order; without a reference those of the sheet alone."""
        seeds = parse_seeds(self.seeds)
        return seeds if self.ref is not None or len(seeds) < self.sheet else seeds[: self.sheet]

    def guides(self) -> tuple[GuideConfig, ...]:
        """The guide, if there is one.

        Raises:
            UserError: If a guide has no weight, or there is a weight but no guide.
        """
        return all_guides(self.guide, GuidanceConfig.of(self.guidance))
