"""Settings of measuring: references, metrics, tables, the report."""

from dataclasses import dataclass, field, replace
from typing import Any

from jsonargparse import ArgumentParser

from edm2lite.config.data import SD_VAE, DataConfig
from edm2lite.config.guidance import GuidanceConfig, GuideConfig, all_guides
from edm2lite.config.models import ModelRef
from edm2lite.config.sampling import SamplerConfig
from edm2lite.config.units import check_choice, check_range
from edm2lite.errors import UserError


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
        vae: Hub name or folder of the VAE, for models of latents.
        models: Folder of published models, for those named nvidia:...
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
    vae: str = SD_VAE
    models: str | None = None
    out: str | None = None

    def __post_init__(self) -> None:
        check_range("batch_size", self.batch_size > 0, self.batch_size, "positive")
        if (self.images is None) == (self.main.path is None):
            raise UserError("metrics needs either --images FOLDER or --main.path MODEL; name exactly one")
        defaults = {"main": ModelRef(), "guide": ModelRef(), "guidance": GuidanceConfig(), "sampler": SamplerConfig()}
        given = [name for name, default in defaults.items() if getattr(self, name) != default]
        given += ["seeds"] * (self.seeds != MetricsConfig.seeds)
        if self.images is not None and given:
            raise UserError(
                f"{' and '.join(given)} have no part in scoring a folder of images; leave them out, or --images"
            )


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
        weights: Guidance weights, or values of what varies; without any guidance: [1]. Of several guides (guidance.guides) the
            i-th gets 1 + (w - 1) (weight_i - 1), as the blends of 2024b, Eq. 6.
    """

    name: str
    main: ModelRef = field(default_factory=ModelRef)
    guide: ModelRef = field(default_factory=ModelRef)
    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    vary: str = "weight"
    main_ema: tuple[float | None, ...] = (None,)
    guide_ema: tuple[float | None, ...] = (None,)
    weights: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        check_choice(f"vary of row {self.name!r}", self.vary, tuple(VARIED))
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
class TableConfig:
    """Table of the Frechet distance over pairs, EMA lengths and guidance weights.

    Attributes:
        title: Heading.
        outdir: Where table.md, table.csv and results/ go; finished cells are kept in results/ and not computed again.
        ref: Reference statistics (.npz).
        main: The main model's run directory and nimg.
        rows: What to try.
        only_row: Only compute the cells of this row (from 0), beside other jobs with the other rows; without it the same
            command then finds them and writes the table.
        num_images: Images a cell and block.
        blocks: Disjoint blocks of seeds; the table gives mean and standard deviation over them.
        first_seed: First seed of the first block.
        confirm: Score the best row alone and the best guided one again, on blocks of fresh seeds.
        batch_size: Images computed together.
        device: cpu, cuda, cuda:1 or auto.
        vae: Hub name or folder of the VAE, for models of latents.
        models: Folder of published models, for those named nvidia:...
    """

    title: str = "Frechet distance"
    outdir: str = "runs/table"
    ref: str = "ref.npz"
    main: ModelRef = field(default_factory=ModelRef)
    rows: tuple[TableRow, ...] = ()
    only_row: int | None = None
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    num_images: int = 1000
    blocks: int = 3
    first_seed: int = 0
    confirm: bool = True
    batch_size: int = 250
    device: str = "auto"
    vae: str = SD_VAE
    models: str | None = None

    def __post_init__(self) -> None:
        check_range("blocks", self.blocks >= 2, self.blocks, "at least 2: the spread is over blocks")
        check_range("batch_size", self.batch_size > 0, self.batch_size, "positive")
        check_range("main.ema", self.main.ema is None, self.main.ema, "given as main_ema of the rows")
        names = [row.name for row in self.rows]
        ok = self.only_row is None or 0 <= self.only_row < len(self.rows)
        check_range("only_row", ok, self.only_row, f"the index of one of the {len(self.rows)} rows, from 0")
        check_range("names of the rows", len(set(names)) == len(names), names, "different from each other")
        check_range("num_images", self.num_images >= 2, self.num_images, "at least 2")

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
