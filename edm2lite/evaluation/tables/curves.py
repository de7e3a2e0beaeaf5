"""Curves of a table over the guidance weight, as pictures beside it."""

import math
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edm2lite.config import TableConfig, parse_metric
from edm2lite.evaluation.report.drawing import COLORS, scale
from edm2lite.evaluation.report.plots import AXES, best_lines, error_name, error_of
from edm2lite.evaluation.tables.figures import panels, write_figure
from edm2lite.evaluation.tables.result import Result, best_of, ema_text
from edm2lite.evaluation.tables.results import Table

CURVES = "curves"
_LINES, _COLUMNS, _SIZE = 6, 3, (4.6, 4.2)  # lines a panel; panels beside each other; inches of each


def write_curves(outdir: Path, table: Table) -> None:
    """Write curves.svg and curves.png, if a row has several weights; a sweep draws its own."""
    if table.config.get("rows") and (figure := curves_figure(table)) is not None:
        write_figure(figure, outdir / CURVES)


def curves_figure(table: Table) -> Any | None:
    """The table's first metric over the weight: a line a row, at the EMA lengths and training length of its best value.

    Rows with the same main, degradations included, share a panel, to at most six lines; a line begins at its main alone where
    that is measured. Bands are standard deviations over the blocks. Each panel has the best main without guidance as a grey
    line, and its own main without guidance as a dashed one where that is another.

    Returns:
        A figure of matplotlib; None: no row has two weights.
    """
    cfg, metric = TableConfig.from_plain(table.config), table.first
    groups = list(_groups(table, cfg))
    if not groups:
        return None
    columns = min(_COLUMNS, len(groups))
    figure, axes = panels(math.ceil(len(groups) / columns), columns, _SIZE)
    figure.suptitle(f"{table.config['title']}. Bands: {error_name(table, metric)}", fontsize=9)
    for place, lines in zip(axes, groups, strict=False):
        _draw(place, lines, metric, _levels(table, cfg, lines))
    for unused in axes[len(groups) :]:
        unused.remove()
    return figure


def _groups(table: Table, cfg: TableConfig) -> Iterator[list[list[Result]]]:
    """Lines that share a panel, parts of about equal size where there are too many."""
    rows, found = {row.name: row for row in cfg.rows}, defaultdict(list)
    for line in best_lines(table, cfg, table.first):
        row = rows[line[-1].row]
        if len(row.weights) > 1:
            found[cfg.main_of(row), row.vary].append(line)
    for lines in found.values():
        count = math.ceil(len(lines) / _LINES)
        each = math.ceil(len(lines) / count)
        yield from (lines[i : i + each] for i in range(0, len(lines), each))


def _levels(table: Table, cfg: TableConfig, lines: Sequence[Sequence[Result]]) -> dict[str, Result]:
    """What is measured without guidance, by the style of its line: the best of all, and that of the panel's own main."""
    mains = {row.name: cfg.main_of(row) for row in cfg.rows}
    alone = [r for r in table.results if not r.guided]
    own = best_of([r for r in alone if mains[r.row] == mains[lines[0][-1].row]], table.first)
    best = best_of(alone, table.first)
    return {style: r for style, r in (("-", best), ("--", own)) if r is not None and not (style == "--" and r is best)}


def _draw(axes: Any, lines: Sequence[Sequence[Result]], metric: str, levels: dict[str, Result]) -> None:
    """One panel."""
    for style, r in levels.items():
        _band(axes, [0, 1], [r, r], metric, "0.45", transform=axes.get_yaxis_transform())
        axes.axhline(r.mean(metric), color="0.45", lw=1.2, ls=style, label=f"{r.row} (EMA {ema_text(r.main_ema)})")
    for line, color in zip(lines, COLORS, strict=False):
        weights = [r.weight for r in line]
        _band(axes, weights, line, metric, color)
        axes.plot(weights, [r.mean(metric) for r in line], color=color, marker="o", ms=4, lw=1.4, label=_name(line[-1]))
    scale(axes, [r.mean(metric) for r in (*(r for line in lines for r in line), *levels.values())])
    axes.set(xlabel=AXES[lines[0][-1].vary], ylabel=parse_metric(metric).title)
    axes.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16))


def _band(axes: Any, x: Sequence[float], line: Sequence[Result], metric: str, color: str, **options: Any) -> None:
    """Mean plus and minus a standard deviation."""
    means, errors = [r.mean(metric) for r in line], [error_of(r, metric) or 0 for r in line]
    low, high = ([m + sign * e for m, e in zip(means, errors, strict=True)] for sign in (-1, 1))
    axes.fill_between(x, low, high, color=color, alpha=0.13, lw=0, **options)


def _name(r: Result) -> str:
    """A row in the legend."""
    guide = f", guide {ema_text(r.guide_ema)}" if r.guide_ema is not None else ""
    return textwrap.fill(f"{r.row} (EMA {ema_text(r.main_ema)}{guide})", 56)
