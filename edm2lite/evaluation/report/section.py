"""Everything the report says about one table or sweep."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from edm2lite.config import TableConfig, parse_metric
from edm2lite.config.tables import VARIED
from edm2lite.evaluation.report.grids import all_results, confirmation, rows_at_best
from edm2lite.evaluation.report.heatmap import caption, heat_map, make_map
from edm2lite.evaluation.report.markup import element, figure, scrolling, text
from edm2lite.evaluation.report.plots import error_name, over_ema, over_weight
from edm2lite.evaluation.report.protocol import again, protocol, raw, size
from edm2lite.evaluation.report.samples import sample_sheets
from edm2lite.evaluation.report.searches import is_sweep, outcome, plots, sweep_config, trials
from edm2lite.evaluation.report.training import training_curves
from edm2lite.evaluation.tables.hypertext import html_claims
from edm2lite.evaluation.tables.results import Table


@dataclass(frozen=True)
class Section:
    """One table of the report.

    Attributes:
        table: Its results.
        outdir: Where it lies.
        seeds: Of the pictures; empty: none are made.
        device: Where the pictures are made.
        place: Its place in the report, from 1.
    """

    table: Table
    outdir: str
    seeds: Sequence[int]
    device: str
    place: int

    @cached_property
    def cfg(self) -> TableConfig:
        """The table's configuration; a sweep's is that of the table it makes."""
        return TableConfig.from_plain(self.table.config)

    @property
    def title(self) -> str:
        return str(self.table.config["title"])

    def contents(self) -> str:
        """The entry in the page's navigation."""
        parts = (element("a", text(name), href=f"#{self._anchor(i)}") for i, (name, _) in enumerate(self._parts))
        link = element("a", text(self.title), href=f"#table{self.place}")
        return element("li", link + element("ul", "".join(element("li", part) for part in parts)))

    def html(self) -> str:
        """The section itself."""
        name = f"table{self.place}"
        verdict = element("div", "".join(element("p", text(line)) for line in self.table.verdict()), class_="verdict")
        head = element("h2", text(self.title), id=name) + element("p", text(summary(self.table))) + verdict
        parts = (element("h3", text(t), id=self._anchor(i)) + content for i, (t, content) in enumerate(self._parts))
        return element("section", head + "".join(parts), aria_labelledby=name)

    def _anchor(self, part: int) -> str:
        return f"table{self.place}-{part + 1}"

    @cached_property
    def _parts(self) -> list[tuple[str, str]]:
        """Titles and contents; what is empty is left out."""
        table = self.table
        parts = [
            ("Finalists" if is_sweep(self.outdir) else "Results", all_results(table)),
            ("Each row at its best", rows_at_best(table)),
            ("Claims", html_claims(table)),
            ("Confirmation on fresh seeds", confirmation(table)),
            *(self._search() if is_sweep(self.outdir) else self._curves()),
            ("Samples", sample_sheets(table, self.cfg, self.seeds, self.device) if self.seeds else ""),
            ("Training", self._training()),
            ("Protocol", protocol(table, self.cfg) + raw(table)),
            ("To make it again", self._again()),
        ]
        return [(name, content) for name, content in parts if content]

    def _curves(self) -> list[tuple[str, str]]:
        """Curves and heat maps of a table."""
        return [
            ("Over guidance weight", "".join(_weight_figures(self.table, self.cfg))),
            ("Over EMA length", "".join(_ema_figures(self.table, self.cfg))),
            ("EMA of main by EMA of guide", _charts(_maps(self.table), "maps")),
        ]

    def _search(self) -> list[tuple[str, str]]:
        """How a sweep came to its table, which holds the finalists alone."""
        return [("Search", outcome(self.outdir) + plots(self.outdir) + trials(self.outdir))]

    def _again(self) -> str:
        if is_sweep(self.outdir):
            return again(sweep_config(self.outdir, self.table), self.outdir, "sweep")
        return again(self.table.config, self.outdir, "table")

    def _training(self) -> str:
        runs = run_dirs(self.cfg)
        gone = [str(run) for run in runs if not run.exists()]
        note = element("p", text(f"Gone: {', '.join(gone)}."), class_="missing") if gone else ""
        return note + _charts(figure(drawn, caption) for caption, drawn in training_curves(runs))


def summary(table: Table) -> str:
    """What was done, in a paragraph."""
    metrics = ", ".join(parse_metric(metric).title for metric in table.metrics)
    count, rows = len(table.results), len({r.row for r in table.results})
    number, each = size(table)
    blocks = f"{number} blocks of {each:,} images" if number > 1 else f"one block of {each:,} images"
    done = f"{count} settings in {rows} rows were scored by {metrics} on {blocks}, the same seeds for all of them."
    known = table.reference.get("num_images")
    name = table.reference.get("name", table.reference.get("file", "the reference"))
    against = f" The reference is {name}" + (f", {known:,} images." if known else ".")
    fresh = (
        " The best without and the best with guidance were then scored again on fresh seeds." if table.confirmed else ""
    )
    detectors = {parse_metric(metric).detector or "" for metric in table.metrics}
    own = " The features are those of a classifier trained on this very dataset: the distances are no FID."
    return done + against + fresh + (own if _bundled(table) and not detectors & {"inception", "dinov2"} else "")


def _bundled(table: Table) -> bool:
    """Whether the first metric is in features of a bundled dataset's own classifier."""
    return "-classifier-" in str(table.protocol[table.first].get("detector", {}).get("detector", ""))


def _weight_figures(table: Table, cfg: TableConfig) -> Iterator[str]:
    for vary in VARIED:
        drawn = ((metric, over_weight(table, cfg, metric, vary)) for metric in table.metrics)
        yield _charts(figure(svg, _caption(table, metric)) for metric, svg in drawn if svg)


def _ema_figures(table: Table, cfg: TableConfig) -> Iterator[str]:
    drawn = ((metric, over_ema(table, cfg, metric)) for metric in table.metrics)
    yield _charts(figure(svg, _caption(table, metric)) for metric, svg in drawn if svg)


def _maps(table: Table) -> Iterator[str]:
    """A heat map for each row and metric where several EMA lengths of main and guide meet."""
    for row in dict.fromkeys(r.row for r in table.results):
        for metric in table.metrics:
            drawn = make_map([r for r in table.results if r.row == row], metric)
            if drawn is not None:
                name = f"{row}: {caption(drawn)}."
                yield figure(scrolling(heat_map(drawn), name), name, class_="map")


def _charts(figures: Iterator[str], kind: str = "charts") -> str:
    content = "".join(figures)
    return element("div", content, class_=kind) if content else ""


def _caption(table: Table, metric: str) -> str:
    return f"{parse_metric(metric).title}; error bars: {error_name(table, metric)}."


def run_dirs(cfg: TableConfig) -> list[Path]:
    """Run directories of mains and guides that have a name on this machine, each once; files of single models are none."""
    paths = [ref.path for row in cfg.rows for ref in (cfg.main_of(row), *cfg.guides_of(row)) if ref.path]
    local = [Path(path) for path in dict.fromkeys(paths) if ":" not in path]
    return [path for path in local if path.suffix not in (".safetensors", ".pkl")]
