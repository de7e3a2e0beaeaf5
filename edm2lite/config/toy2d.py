"""Settings of the 2D example: `edm2lite toy2d train`, `measure` and `plot`."""

from dataclasses import dataclass, field, fields, replace

from edm2lite.config.claims import ClaimConfig
from edm2lite.config.models import ModelRef
from edm2lite.config.rows import TableRow
from edm2lite.config.sampling import SamplerConfig
from edm2lite.config.tables import check_claims
from edm2lite.config.training import TrainingConfig
from edm2lite.config.units import Nimg, check_choice, check_range
from edm2lite.errors import UserError, unknown_name

CLASSES = ("A", "B", "AB")
TRUTH = "truth"  # name of the row of true points, which every measure has
_UNUSED = (
    "batch_per_device", "precision", "activation_checkpointing", "compile", "attention", "loss_scaling", "nonfinite_gradients",
)  # fmt: skip


def _recipe() -> TrainingConfig:
    """The main model's (2024b, Appendix C): 4096 steps of 4096 points."""
    return TrainingConfig(
        total_nimg=Nimg("16Mi"), batch_size=4096, P_mean=-2.3, P_std=1.5, ref_lr=0.01, ref_batches=512,
        rampup_nimg=Nimg(0), ema_sigma_rel=(0.01, 0.05), snapshot_nimg=Nimg("1Mi"), checkpoint_nimg=Nimg("1Mi"),
    )  # fmt: skip


def _sampler() -> SamplerConfig:
    return SamplerConfig(num_steps=32, sigma_min=0.002, sigma_max=5.0)


@dataclass(frozen=True, kw_only=True)
class Toy2dTrainConfig:
    """Train a model of the 2D example by score matching; interrupted, the same command goes on.

    Attributes:
        run_dir: Where snapshots, checkpoints and the log go.
        classes: What it is a model of: A, B, or AB (a guide for classifier-free guidance).
        width: Of its layers.
        training: The recipe; an image is a point.
    """

    run_dir: str = "runs/toy2d/main"
    classes: str = "A"
    width: int = 64
    training: TrainingConfig = field(default_factory=_recipe)

    def __post_init__(self) -> None:
        check_choice("classes", self.classes, CLASSES)
        check_range("width", self.width > 0, self.width, "positive")
        defaults = {f.name: f.default for f in fields(TrainingConfig)}
        for name in _UNUSED:
            if getattr(self.training, name) != defaults[name]:
                raise UserError(f"training.{name} has no part in the 2D example; leave it out")


@dataclass(frozen=True, kw_only=True)
class Toy2dMeasureConfig:
    """Measure ways of guiding on the 2D example against the exact distribution; interrupted, the same command goes on.

    Models are run directories of `edm2lite toy2d train`, or exact: "exact:A", "exact:B", "exact:AB". A classifier's path is
    "exact"; it leads to `classes`. A row "truth", points of the exact distribution, heads the table; claims may name it.

    Attributes:
        title: Heading.
        outdir: Where table.md, .csv, .json, curves.png, .pdf and results/ go.
        classes: Whose distribution the points are compared with.
        main: The main model; its EMA lengths are main_ema of the rows.
        rows: What to try, as in a table of images.
        panels: How curves.png groups the rows: heading, and the rows that are drawn below it.
        sampler: Solver and noise levels.
        num_points: Points a block.
        blocks: Disjoint blocks of seeds.
        first_seed: First seed of the first block.
        claims: To be found true or false.
        workers: Processes.
    """

    title: str = "The 2D example"
    outdir: str = "runs/toy2d/methods"
    classes: str = "A"
    main: ModelRef = field(default_factory=ModelRef)
    rows: tuple[TableRow, ...] = ()
    panels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    sampler: SamplerConfig = field(default_factory=_sampler)
    num_points: int = 8192
    blocks: int = 4
    first_seed: int = 0
    claims: tuple[ClaimConfig, ...] = ()
    workers: int = 2

    def __post_init__(self) -> None:
        check_choice("classes", self.classes, CLASSES)
        check_range("num_points", self.num_points >= 100, self.num_points, "at least 100")
        check_range("blocks", self.blocks >= 2, self.blocks, "at least 2")
        check_range("workers", self.workers > 0, self.workers, "positive")
        check_range("main.ema", self.main.ema is None, self.main.ema, "given as main_ema of the rows")
        names = [TRUTH, *(row.name for row in self.rows)]
        check_range("names of the rows", len(set(names)) == len(names), names, "different from each other")
        for row in self.rows:
            self._check_row(row)
        for heading, drawn in self.panels.items():
            for name in drawn:
                if name not in names:
                    raise unknown_name(f"row of panel {heading!r}", name, map(repr, names))
        any_metric = (
            replace(claim, checks=tuple(replace(check, metric=None) for check in claim.checks)) for claim in self.claims
        )  # their names are those of images
        check_claims(tuple(any_metric), (TableRow(name=TRUTH), *self.rows), None)

    def _check_row(self, row: TableRow) -> None:
        if row.published:
            raise UserError(f"published of row {row.name!r} has no part in the 2D example; leave it out")
        if row.guidance.classifier.path is not None and self.classes == "AB":
            raise UserError(
                f"row {row.name!r} has a classifier, which leads to one class, but classes is AB; set classes: A"
            )

    def main_of(self, row: TableRow) -> ModelRef:
        """The main model of a row: its own, or that of all rows with the row's degradations."""
        return row.main if row.main.path is not None else replace(self.main, **row.main.degradations)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Toy2dPlotConfig:
    """Draw the figures of the 2D example (2024b, Figures 1 and 2) as PNG and PDF, and the trajectories as an animation.

    Models are of class A: run directories of `edm2lite toy2d train`, or exact: "exact:A", "exact:AB".

    Attributes:
        outdir: Where they go.
        main: The main model.
        guide: The guide for autoguidance.
        cfg_guide: The guide for classifier-free guidance: a model of both classes.
        weight: Of autoguidance.
        cfg_weight: Of classifier-free guidance.
        truncation: Factor of score scaling.
        sampler: Solver and noise levels.
        num_points: Points a panel of figure 1.
        first_seed: Their first seed.
        sigma: Noise level of the densities in figure 2.
        num_paths: Trajectories a panel of figure 2.
        moving_points: Points a panel of the animation.
        frames: Of the animation, without the last one that is held.
        grid: Points along a side where densities are computed.
    """

    outdir: str = "runs/toy2d/figures"
    main: ModelRef = field(default_factory=lambda: ModelRef(path="runs/toy2d/main"))
    guide: ModelRef = field(default_factory=lambda: ModelRef(path="runs/toy2d/guide"))
    cfg_guide: ModelRef = field(default_factory=lambda: ModelRef(path="runs/toy2d/both"))
    weight: float = 3.0
    cfg_weight: float = 4.0
    truncation: float = 1.25
    sampler: SamplerConfig = field(default_factory=_sampler)
    num_points: int = 8192
    first_seed: int = 0
    sigma: float = 0.05
    num_paths: int = 100
    moving_points: int = 700
    frames: int = 97
    grid: int = 320

    def __post_init__(self) -> None:
        for name in ("num_points", "num_paths", "moving_points"):
            check_range(name, getattr(self, name) >= 1, getattr(self, name), "positive")
        for name in ("frames", "grid"):
            check_range(name, getattr(self, name) >= 2, getattr(self, name), "at least 2")
        check_range("sigma", 0 < self.sigma < float("inf"), self.sigma, "a noise level above 0, for example 0.05")
        churn = self.sampler.S_churn
        check_range("sampler.S_churn", churn == 0, churn, "0: trajectories are drawn without fresh noise")
        solver = self.sampler.solver
        check_range(
            "sampler.solver", solver != "ancestral", solver, "another: trajectories are drawn without fresh noise"
        )
        for name in ("main", "guide"):
            worse = getattr(self, name).degradations
            check_range(f"{name}'s degradations", not worse, worse, "none: a degraded model has no density to draw")
