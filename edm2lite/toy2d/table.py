"""The table of a measurement: Markdown, CSV, JSON, and what the terminal shows."""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from edm2lite.config import Nimg, Toy2dMeasureConfig
from edm2lite.config.toy2d import TRUTH
from edm2lite.evaluation.claims import Verdict
from edm2lite.evaluation.metrics.uncertainty import statistically_tied
from edm2lite.evaluation.tables.layout import Field, Grid
from edm2lite.evaluation.tables.markdown import claim_lines, escaped, grid_lines
from edm2lite.evaluation.tables.marks import BEST, TIED
from edm2lite.evaluation.tables.result import Result, ema_text
from edm2lite.evaluation.tables.terminal import rich_table
from edm2lite.files import write_json, write_text
from edm2lite.toy2d.closest import Closest
from edm2lite.toy2d.export import as_data, write_csv
from edm2lite.toy2d.models import is_exact
from edm2lite.toy2d.yardstick import METRICS

FIRST = "kl"  # decides which weight is best
_DEPTHS = tuple(name for name in METRICS if name.startswith("coverage_"))
_MAIN = (FIRST, *(name for name in METRICS if name not in (FIRST, *_DEPTHS)))
_COMPACT = ("kl", "reverse_kl", "energy", "outliers", "coverage", "logp")
_LEGEND = (
    "Mean +- standard deviation over blocks of seeds. Best of the trained models: bold, or *; not to be told from it (95 %, "
    "paired on common seeds): ~."
)


def write_table(
    cfg: Toy2dMeasureConfig, results: Sequence[Result], verdicts: Sequence[Verdict], closest: Sequence[Closest]
) -> list[Path]:
    """Write table.md, table.csv and table.json into OUTDIR; print each row at its best, the verdicts, and what is closest.

    Args:
        cfg: What was measured.
        results: True points first.
        verdicts: On the claims.
        closest: By each distance.

    Returns:
        The files.
    """
    outdir = Path(cfg.outdir)
    write_csv(outdir / "table.csv", results)
    write_text(outdir / "table.md", markdown(cfg, results, verdicts, closest))
    write_json(outdir / "table.json", as_data(cfg, results, verdicts, closest))
    _print(cfg, results, verdicts, closest)
    return [outdir / f"table.{form}" for form in ("md", "csv", "json")]


def markdown(
    cfg: Toy2dMeasureConfig, results: Sequence[Result], verdicts: Sequence[Verdict], closest: Sequence[Closest]
) -> str:
    """All settings; each row at its best; the verdicts; what comes closest; what the columns mean."""
    best = best_of_rows(results)
    parts = [f"{escaped(_caption(cfg))} {_LEGEND}"]
    for heading, shown, names in (
        ("All settings", results, _MAIN),
        ("Each row at its best KL", best, _MAIN),
        ("The same, coverage by depth of the branches", best, _DEPTHS),
    ):
        parts += ["", f"{heading}:", "", *grid_lines(settings_grid(cfg, shown, results, names))]
    parts += claim_lines(verdicts)
    if closest:
        parts += ["", "Closest to the truth:", "", *(f"- {escaped(str(found))}" for found in closest)]
    meaning = [f"- {METRICS[name].title}: {METRICS[name].description}" for name in _present(_MAIN, results)]
    return "\n".join([*parts, "", "Columns:", "", *meaning]) + "\n"


def settings_grid(
    cfg: Toy2dMeasureConfig, shown: Sequence[Result], results: Sequence[Result], names: Sequence[str]
) -> Grid:
    """A line for each of `shown`, a column for each of `names`; what is best is told among all results of trained models."""
    names = _present(names, results)
    exact = {TRUTH, *(row.name for row in cfg.rows if is_exact(cfg.main_of(row).path))}
    marks = {name: _marks([r for r in results if r.row not in exact], name) for name in names}
    grid = Grid("", ["row", "setting", *(METRICS[name].title for name in names)], text_columns=2)
    for r in shown:
        cells = (Field(value_text(r, name), r.mean(name), marks[name].get(id(r), "")) for name in names)
        grid.rows.append([Field(r.row), Field(setting_text(r)), *cells])
    return grid


def best_of_rows(results: Sequence[Result]) -> list[Result]:
    """True points, then each row at its lowest mean by `FIRST`, the best row first."""
    rows = dict.fromkeys(r.row for r in results if r.row != TRUTH)
    best = [min((r for r in results if r.row == row), key=lambda r: r.mean(FIRST)) for row in rows]
    return [*(r for r in results if r.row == TRUTH), *sorted(best, key=lambda r: r.mean(FIRST))]


def value_text(r: Result, name: str) -> str:
    """Mean +- standard deviation over the blocks."""
    digits = 2 if name == "logp" else 4 if name in ("outliers", "leakage", "dropped", "energy") else 3
    return f"{r.mean(name):.{digits}f} +- {r.spread(name) or 0:.{digits}f}"


def setting_text(r: Result) -> str:
    """What of a row: "main EMA 0.01, guide at 2Mi, guide EMA 0.05, w = 2"."""
    parts = (
        f"EMA {ema_text(r.main_ema)}" if r.main_ema is not None else "",
        f"guide at {Nimg(r.guide_nimg)}" if r.guide_nimg is not None else "",
        f"guide EMA {ema_text(r.guide_ema)}" if r.guide_ema is not None else "",
        r.strength if r.guided else "",
    )
    return ", ".join(filter(None, parts))


def _marks(results: Sequence[Result], name: str) -> dict[int, str]:
    """Of each result by its id: which is best, and which are tied with it."""
    lower = METRICS[name].lower_is_better
    if lower is None or not results:
        return {}
    best = (min if lower else max)(results, key=lambda r: r.mean(name))
    tied = {id(r): TIED for r in results if statistically_tied(best.blocks(name), r.blocks(name))}
    return tied | {id(best): BEST}


def _present(names: Sequence[str], results: Sequence[Result]) -> list[str]:
    return [name for name in names if name in results[0].scores]


def _caption(cfg: Toy2dMeasureConfig) -> str:
    return f"{cfg.title}: class {cfg.classes}, {cfg.num_points} points a block, {cfg.blocks} blocks."


def _print(
    cfg: Toy2dMeasureConfig, results: Sequence[Result], verdicts: Sequence[Verdict], closest: Sequence[Closest]
) -> None:
    console = Console(
        file=sys.stdout, width=None if sys.stdout.isatty() else 400, highlight=False, markup=False, emoji=False
    )
    console.print(f"\n{_caption(cfg)} Each row at its best KL. {_LEGEND}\n")
    console.print(rich_table(settings_grid(cfg, best_of_rows(results), results, _COMPACT)), "")
    for line in (*verdicts, *closest):
        console.print(str(line), soft_wrap=True)
