"""Settings of tables: which pairs at which EMA lengths and weights, by which metrics."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

from jsonargparse import ArgumentParser

from edm2lite.config.data import DataConfig
from edm2lite.config.evaluation import MeasureConfig, check_processes
from edm2lite.config.guidance import GuidanceConfig, GuideConfig, all_guides
from edm2lite.config.metrics import parse_metric
from edm2lite.config.models import ModelRef
from edm2lite.config.units import Nimg, check_choice, check_range
from edm2lite.errors import UserError

VARIED = {"weight": 1.0, "truncation": 1.0, "classifier": 0.0, "gradient": 0.0}  # and where it has no effect


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A pair and the row of settings to try: all combinations of the three lists.

    Attributes:
        name: How the table calls it.
        main: Degradations of the main model in this row, or another main model than the table's.
        guide: The guide's run directory and nimg, or its file; without a path there is none.
        guidance: Interval, schedule, classifier ...: all but what varies.
        vary: What `weights` are: weight (guidance.weight), truncation, classifier (its scale) or gradient (its scale).
        main_ema: EMA lengths of the main model; null: the shortest stored, or that of the file.
        guide_ema: EMA lengths of the guide, likewise.
        guide_nimg: Training lengths of the guide; null: guide.nimg, or the longest.
        weights: Guidance weights, or values of what varies; without any guidance: [1]. Of several guides (guidance.guides) the
            i-th gets 1 + (w - 1) (weight_i - 1), as the blends of 2024b, Eq. 6.
        published: What the literature gives for this row's best setting, by metric: {fid: 1.34, fd_dinov2: 36.67}. FID is
            compared with the minimum of the blocks, as the papers report it, every other metric with their mean.
    """

    name: str
    main: ModelRef = field(default_factory=ModelRef)
    guide: ModelRef = field(default_factory=ModelRef)
    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    vary: str = "weight"
    main_ema: tuple[float | None, ...] = (None,)
    guide_ema: tuple[float | None, ...] = (None,)
    guide_nimg: tuple[Nimg | None, ...] = (None,)
    weights: tuple[float, ...] = (1.0,)
    published: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_choice(f"vary of row {self.name!r}", self.vary, tuple(VARIED))
        self._check_published()
        for name in ("main_ema", "guide_ema", "guide_nimg", "weights"):
            given = getattr(self, name)
            ok = len(given) > 0 and len(set(given)) == len(given)
            check_range(f"{name} of row {self.name!r}", ok, list(given), "at least one value, and none twice")
        off = VARIED[self.vary]
        if self.alone:
            check_range(
                f"weights of row {self.name!r}", self.weights == (1.0,), list(self.weights), "1 without a guide"
            )
            if self.guidance != GuidanceConfig():
                raise UserError(
                    f"row {self.name!r} has guidance but no guide, and vary is weight; name a guide, or set vary to one of "
                    f"{', '.join(name for name in VARIED if name != 'weight')}"
                )
        else:
            self._check_varied()
            allowed = f"other than {off:g}, where there is no guidance"
            check_range(f"weights of row {self.name!r}", off not in self.weights, list(self.weights), allowed)
        for name in ("main", "guide"):
            ema = getattr(self, name).ema
            check_range(f"{name}.ema of row {self.name!r}", ema is None, ema, f"given as {name}_ema")
        if not self.alone:
            for weight in self.weights:
                all_guides(self.guide, self.guided_by(weight))

    def _check_published(self) -> None:
        """Raise a UserError if a published value is of no metric, or no number."""
        for metric, value in self.published.items():
            try:
                parse_metric(metric)
            except UserError as e:
                raise UserError(f"published of row {self.name!r}: {e}") from e
            check_range(f"published {metric} of row {self.name!r}", math.isfinite(value), value, "a finite number")

    def _check_varied(self) -> None:
        """Raise a UserError if the guidance already has a value of what varies."""
        name = self.vary if self.vary in ("weight", "truncation") else f"{self.vary}.scale"
        given = {
            "weight": self.guidance.weight, "truncation": self.guidance.truncation,
            "classifier": self.guidance.classifier.scale, "gradient": self.guidance.gradient.scale,
        }[self.vary]  # fmt: skip
        if given not in (None, VARIED[self.vary]):
            raise UserError(
                f"guidance.{name} of row {self.name!r} is {given:g}, and its weights are {list(self.weights)}; "
                "leave one of the two out"
            )

    @property
    def alone(self) -> bool:
        """Whether nothing guides the main model."""
        return self.vary == "weight" and self.guide.path is None and not self.guidance.guides

    def guided_by(self, weight: float) -> GuidanceConfig:
        """The guidance at one of the weights."""
        if self.alone:
            return self.guidance
        if self.vary in ("classifier", "gradient"):
            scaled = replace(getattr(self.guidance, self.vary), scale=weight)
            return replace(self.guidance, **{self.vary: scaled})
        if self.vary == "weight" and self.guidance.guides:
            guides = (replace(g, weight=1 + (weight - 1) * ((g.weight or 1) - 1)) for g in self.guidance.guides)
            return replace(self.guidance, guides=tuple(guides))
        varied: dict[str, Any] = {self.vary: weight}
        return replace(self.guidance, **varied)


@dataclass(frozen=True, kw_only=True)
class TableConfig(MeasureConfig):
    """Table of metrics over pairs, EMA lengths, training lengths of guides and guidance weights.

    Every finished block of a setting is kept in OUTDIR/results, so that interrupted, the same command goes on. Any number of
    processes may share one table: started by torchrun, srun or --devices, or as jobs with --shard I/N, each takes every N-th
    block of all settings, and who finds all of them there writes the table. What others did not finish, the same command makes.

    Attributes:
        title: Heading.
        outdir: Where table.md, .csv, .tex, .html, .json and results/ go.
        ref_data: Dataset of the reference statistics, from which slurm/submit_table.sh makes them if `ref` is missing; default:
            the bundled dataset that the main model is trained on.
        main: The main model's run directory and nimg.
        rows: What to try.
        only_row: Only compute the cells of this row (from 0), beside other jobs with the other rows; without it the same
            command then finds them and writes the table.
        num_images: Images a cell and block.
        blocks: Disjoint blocks of seeds; the table gives minimum, mean and standard deviation over them. Of a single block it
            gives the jackknife standard error instead.
        first_seed: First seed of the first block.
        confirm: Score the best setting alone and the best guided one, by the first metric, again on blocks of fresh seeds.
        devices: Processes to start on this machine, one for each GPU.
        shard: "I/N": only every N-th block from the I-th on, beside N - 1 other processes; default: as torchrun or srun say.
    """

    title: str = "Table"
    outdir: str = "runs/table"
    ref_data: DataConfig | None = None
    main: ModelRef = field(default_factory=ModelRef)
    rows: tuple[TableRow, ...] = ()
    only_row: int | None = None
    num_images: int = 1000
    blocks: int = 3
    first_seed: int = 0
    confirm: bool = True
    batch_size: int = 250
    devices: int = 1
    shard: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("blocks", self.blocks >= 1, self.blocks, "at least 1")
        check_processes(self.devices, self.shard)
        check_range("main.ema", self.main.ema is None, self.main.ema, "given as main_ema of the rows")
        names = [row.name for row in self.rows]
        ok = self.only_row is None or 0 <= self.only_row < len(self.rows)
        check_range("only_row", ok, self.only_row, f"the index of one of the {len(self.rows)} rows, from 0")
        check_range("names of the rows", len(set(names)) == len(names), names, "different from each other")
        check_range("num_images", self.num_images >= 2, self.num_images, "at least 2")
        if self.metrics:
            check_published(self.rows, [metric.name for metric in self.parsed_metrics()])

    def main_of(self, row: TableRow) -> ModelRef:
        """The main model of a row: its own, or the table's with the row's degradations."""
        return row.main if row.main.path is not None else replace(self.main, **row.main.degradations)  # type: ignore[arg-type]

    def guides_of(self, row: TableRow) -> tuple[GuideConfig, ...]:
        """The guides of a row, at the first of its weights and without their EMA lengths."""
        return all_guides(row.guide, row.guided_by(row.weights[0]))

    @staticmethod
    def from_plain(data: dict[str, Any]) -> "TableConfig":
        """The configuration from its plain form, as `plain(asdict(...))` makes it."""
        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(TableConfig, as_group=False)
        return TableConfig(**vars(parser.instantiate(parser.parse_object(data))))


def check_published(rows: tuple[TableRow, ...], metrics: list[str]) -> None:
    """Raise a UserError if a row has a published value of a metric that is not computed."""
    for row in rows:
        for metric in row.published:
            if parse_metric(metric).name not in metrics:
                raise UserError(
                    f"row {row.name!r} has a published {metric}, but the table's metrics are {', '.join(metrics)}; "
                    f"leave it out, or add {metric} to metrics"
                )
