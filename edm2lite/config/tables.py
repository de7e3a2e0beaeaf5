"""Settings of tables: which pairs at which EMA lengths and weights, by which metrics."""

from argparse import ArgumentError
from dataclasses import dataclass, field, replace
from typing import Any

from jsonargparse import ArgumentParser

from edm2lite.config.claims import WEIGHT, ClaimConfig, ComparisonConfig
from edm2lite.config.data import DataConfig
from edm2lite.config.evaluation import MeasureConfig, check_processes
from edm2lite.config.guidance import GuideConfig, all_guides
from edm2lite.config.metrics import parse_metric
from edm2lite.config.models import ModelRef
from edm2lite.config.rows import VARIED, TableRow
from edm2lite.config.units import check_range
from edm2lite.errors import UserError, unknown_name

__all__ = ["VARIED", "TableConfig", "TableRow", "check_claims", "check_published"]


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
        claims: Sentences about the rows, found true, false or open; they change no score.
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
    claims: tuple[ClaimConfig, ...] = ()
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
        metrics = [metric.name for metric in self.parsed_metrics()] if self.metrics else None
        check_claims(self.claims, self.rows, metrics)
        if metrics:
            check_published(self.rows, metrics)

    def main_of(self, row: TableRow) -> ModelRef:
        """The main model of a row: its own, or the table's with the row's degradations."""
        return row.main if row.main.path is not None else replace(self.main, **row.main.degradations)  # type: ignore[arg-type]

    def guides_of(self, row: TableRow) -> tuple[GuideConfig, ...]:
        """The guides of a row, at the first of its weights and without their EMA lengths."""
        return all_guides(row.guide, row.guided_by(row.weights[0]))

    @staticmethod
    def from_plain(data: dict[str, Any]) -> "TableConfig":
        """The configuration from its plain form, as `plain(asdict(...))` makes it.

        Raises:
            UserError: If it has settings that this version does not know.
        """
        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(TableConfig, as_group=False)
        try:
            return TableConfig(**vars(parser.instantiate(parser.parse_object(data))))
        except ArgumentError as e:
            raise UserError(
                f"the configuration of table {data.get('title')!r} is of another version ({' '.join(str(e).split())}); run its "
                "evaluate.py table command again"
            ) from e


def check_published(rows: tuple[TableRow, ...], metrics: list[str]) -> None:
    """Raise a UserError if a row has a published value of a metric that is not computed."""
    for row in rows:
        for metric in row.published:
            if parse_metric(metric).name not in metrics:
                raise UserError(
                    f"row {row.name!r} has a published {metric}, but the table's metrics are {', '.join(metrics)}; "
                    f"leave it out, or add {metric} to metrics"
                )


def check_claims(claims: tuple[ClaimConfig, ...], rows: tuple[TableRow, ...], metrics: list[str] | None) -> None:
    """Raise a UserError if a claim is about a row, a weight or a metric that the table has not; metrics None: any metric."""
    for claim in claims:
        for check in claim.checks:
            _check_comparison(f"of claim {claim.says!r}", check, {row.name: row.weights for row in rows}, metrics)


def _check_comparison(
    what: str, check: ComparisonConfig, weights: dict[str, tuple[float, ...]], metrics: list[str] | None
) -> None:
    for row, at in ((check.row, check.at), (check.than, check.than_at)):
        if row not in weights:
            raise unknown_name(f"row {what}", row, map(repr, weights))
        if at is not None and at not in weights[row]:
            raise unknown_name(f"weight {what} for row {row!r}", at, weights[row])
    if check.metric not in (None, WEIGHT):
        name = parse_metric(str(check.metric)).name
        if metrics is not None and name not in metrics:
            raise unknown_name(f"metric {what}", name, [*metrics, WEIGHT])
