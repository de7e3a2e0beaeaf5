"""Settings of sweeps: the space of EMA lengths, training lengths of the guide and weights, and how it is searched."""

from dataclasses import dataclass, field, replace

from edm2lite.config.cells import cell
from edm2lite.config.data import DataConfig
from edm2lite.config.evaluation import MeasureConfig
from edm2lite.config.guidance import GuidanceConfig
from edm2lite.config.models import ModelRef
from edm2lite.config.tables import VARIED, TableConfig, TableRow
from edm2lite.config.units import Nimg, check_choice, check_range
from edm2lite.errors import UserError

SEARCHES = ("grid", "random", "tpe", "local")
ALONE, SWEEP = "main alone", "sweep"  # rows of the table
_FIELDS = {"main_ema": "main_ema", "guide_nimg": "guide_nimg", "guide_ema": "guide_ema", "weights": "weight"}
_DIGITS = 10  # decimal places of a range's values: 0.015 and not 0.015000000000000001


@dataclass(frozen=True, kw_only=True)
class RangeConfig:
    """Values low, low + step ... high."""

    low: float
    high: float
    step: float

    def __post_init__(self) -> None:
        check_range("step of a range", self.step > 0, self.step, "positive")
        steps = (self.high - self.low) / self.step
        ok = steps > -1e-6 and abs(steps - round(steps)) < 1e-6
        check_range(
            "a range", ok, f"{self.low:g} to {self.high:g} by {self.step:g}", "of whole steps, from low to high"
        )

    @property
    def values(self) -> tuple[float, ...]:
        """All of them, ascending."""
        return tuple(
            round(self.low + i * self.step, _DIGITS) for i in range(round((self.high - self.low) / self.step) + 1)
        )


@dataclass(frozen=True, kw_only=True)
class SweepPoint:
    """One setting: EMA lengths of main and guide, the guide's training length, and the weight; null as in `SweepConfig`."""

    main_ema: float | None = None
    guide_ema: float | None = None
    guide_nimg: Nimg | None = None
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class SweepConfig(MeasureConfig):
    """Search for the best EMA lengths, guide and weight; the winner is scored again on seeds that the search never saw.

    Any number of processes, started with the same command here or elsewhere, share the work through OUTDIR/journal.log. Every
    point is screened with the first of `rungs` images on common seeds; the best go on to the next. Only scores of equally many
    images are compared, for a Frechet distance of fewer images is larger. The first of `metrics` decides.

    Attributes:
        title: Heading.
        outdir: Where the journal, the scores, the table and the plots go.
        ref_data: Dataset of the reference statistics, from which slurm/submit_sweep.sh makes them if `ref` is missing; default:
            the bundled dataset that the main model is trained on.
        main: The main model's run directory and nimg.
        guide: The guide's; without a path there is none.
        guidance: Interval, schedule, classifier ...: all but what varies.
        vary: What `weights` are: weight (guidance.weight), truncation, classifier (its scale) or gradient (its scale).
        main_ema: EMA lengths of the main model: a list, or a range {low, high, step}; null: the shortest stored.
        guide_ema: EMA lengths of the guide, likewise.
        guide_nimg: Training lengths of the guide; null: guide.nimg, or the longest.
        weights: Guidance weights, or values of what varies: a list or a range.
        search: grid (every point), random, tpe (Optuna's tree-structured Parzen estimator) or local (from `starts` to the best
            neighbour, in ever smaller steps, until none is better).
        trials: Points to screen, at most; grid takes all and has none.
        seed: Of random and tpe.
        starts: Points where a local search begins; default: the middle of every list.
        alone: Also search the main model alone over main_ema, for comparison.
        rungs: Images of each screening, ascending; the last is the full size.
        promote: The part of a rung's points that goes on to the next.
        finalists: As many points at least go on, if there are so many.
        blocks: Disjoint blocks of seeds of the last rung; the earlier ones have one.
        first_seed: First seed of every rung.
        confirm: Score the winners again on fresh seeds, blocks x the last of rungs.
        confirm_seed: First of the fresh seeds; default: the first one that the search leaves.
        published: What the literature gives for the best setting, by metric.
        devices: Processes to start on this machine, one for each GPU.
    """

    title: str = "Sweep"
    outdir: str = "runs/sweep"
    ref_data: DataConfig | None = None
    main: ModelRef = field(default_factory=ModelRef)
    guide: ModelRef = field(default_factory=ModelRef)
    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    vary: str = "weight"
    main_ema: RangeConfig | tuple[float | None, ...] = (None,)
    guide_ema: RangeConfig | tuple[float | None, ...] = (None,)
    guide_nimg: tuple[Nimg | None, ...] = (None,)
    weights: RangeConfig | tuple[float, ...] = ()
    search: str = "grid"
    trials: int | None = None
    seed: int = 0
    starts: tuple[SweepPoint, ...] = ()
    alone: bool = True
    rungs: tuple[int, ...] = (1000, 5000)
    promote: float = 0.25
    finalists: int = 3
    blocks: int = 3
    first_seed: int = 0
    confirm: bool = True
    confirm_seed: int | None = None
    published: dict[str, float] = field(default_factory=dict)
    batch_size: int = 250
    devices: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("search", self.search, SEARCHES)
        check_range("devices", self.devices > 0, self.devices, "positive")
        self._check_axes()
        self._check_rungs()
        self._check_budget()
        self.table()  # refuses guides, weights and guidance that do not fit together

    def _check_axes(self) -> None:
        for name, values in self.axes.items():
            check_range(name, len(values) > 0, list(values), "a list of values, or {low, high, step}")
            check_range(name, len(set(values)) == len(values), list(values), "values that differ")
        for ref, name in ((self.main, "main_ema"), (self.guide, "guide_ema")):
            if ref.path is not None:
                for ema in self.axes[name]:
                    replace(ref, ema=ema)  # refuses what is no EMA length
        if self.guide.path is None:
            given = [name for name in ("guide_ema", "guide_nimg") if self.axes[name] != (None,)]
            check_range("guide.path", not given, self.guide.path, f"a model, as there is {' and '.join(given)}")

    def _check_rungs(self) -> None:
        ok = len(self.rungs) > 0 and list(self.rungs) == sorted(set(self.rungs)) and self.rungs[0] >= 2
        check_range("rungs", ok, list(self.rungs), "ascending numbers of images, at least 2")
        check_range("promote", 0 < self.promote <= 1, self.promote, "in (0, 1]")
        check_range("finalists", self.finalists > 0, self.finalists, "positive")
        check_range("first_seed", self.first_seed >= 0, self.first_seed, "0 or more")
        size, fresh = self.blocks * self.rungs[-1], self.fresh_seed
        apart = fresh >= self.first_seed + size or 0 <= fresh <= self.first_seed - size
        searched = f"{self.first_seed} to {self.first_seed + size - 1}"
        check_range(
            "confirm_seed", apart, fresh, f"such that {size} seeds from it are none of the search's, {searched}"
        )

    def _check_budget(self) -> None:
        size = 1
        for values in self.axes.values():
            size *= len(values)
        if self.search == "grid":
            check_range(
                "trials", self.trials is None, self.trials, "left out with search grid, which takes every point"
            )
        if self.search in ("random", "tpe"):
            ok = self.trials is not None and 0 < self.trials <= size
            check_range(
                "trials", ok, self.trials, f"given with search {self.search}, at most the {size} points there are"
            )
        check_range("trials", self.trials is None or self.trials > 0, self.trials, "positive")
        if self.starts and self.search != "local":
            raise UserError(f"starts is given, but search is {self.search}; leave it out, or choose local")
        for point in self.starts:
            for name, values in self.axes.items():
                value = getattr(point, _FIELDS[name])
                check_range(f"{_FIELDS[name]} of a start", value in values, value, f"one of {name}")

    @property
    def axes(self) -> dict[str, tuple]:
        """The values along each axis of the space."""
        named = {name: getattr(self, name) for name in _FIELDS}
        return {name: axis.values if isinstance(axis, RangeConfig) else tuple(axis) for name, axis in named.items()}

    @property
    def fresh_seed(self) -> int:
        """First of the seeds that confirm."""
        search_ends = self.first_seed + self.blocks * self.rungs[-1]
        return search_ends if self.confirm_seed is None else self.confirm_seed

    def table(self) -> TableConfig:
        """A table of the same measure with two rows: the main alone, and the sweep."""
        axes = self.axes
        rows = [TableRow(name=SWEEP, guide=self.guide, guidance=self.guidance, vary=self.vary, main_ema=axes["main_ema"],
                         guide_ema=axes["guide_ema"], guide_nimg=axes["guide_nimg"], weights=axes["weights"],
                         published=self.published)]  # fmt: skip
        if self.alone:
            rows.insert(0, TableRow(name=ALONE, main_ema=axes["main_ema"]))
        if rows[-1].alone or not set(axes["weights"]) - {VARIED[self.vary]}:
            raise UserError("nothing guides in this sweep; name a guide (guide.path), or set vary")
        measure = {name: getattr(self, name) for name in MeasureConfig.__dataclass_fields__}
        return TableConfig(
            **measure, title=self.title, outdir=self.outdir, ref_data=self.ref_data, main=self.main, rows=tuple(rows),
            num_images=self.rungs[-1], blocks=self.blocks, first_seed=self.first_seed, confirm=self.confirm,
        )  # fmt: skip


def models_of(cfg: SweepConfig) -> list[tuple[str, ModelRef]]:
    """All models of a sweep with their parts, each once: not of every point, of which there can be half a million."""
    table = cfg.table()
    row = table.rows[-1]
    found: list[tuple[str, ModelRef]] = []
    mains = [(ema, row.guide_ema[0], row.guide_nimg[0]) for ema in row.main_ema]
    guides = [(row.main_ema[0], ema, nimg) for ema in row.guide_ema for nimg in row.guide_nimg]
    for main_ema, guide_ema, nimg in (*mains, *guides):
        found += cell(table, row, main_ema, guide_ema, nimg, row.weights[0]).parts
    return list(dict.fromkeys(found))
