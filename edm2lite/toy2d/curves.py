"""Curves of a measurement: every metric over the weight, small multiples."""

import textwrap
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edm2lite.config.toy2d import TRUTH
from edm2lite.evaluation.report.drawing import COLORS
from edm2lite.evaluation.report.plots import AXES
from edm2lite.evaluation.tables.figures import panels, write_figure
from edm2lite.evaluation.tables.result import Result
from edm2lite.toy2d.yardstick import METRICS

_DRAWN = ("kl", "reverse_kl", "energy", "outliers", "coverage", "logp", "leakage")
_LINES, _SIZE = 6, (3.5, 2.0)  # lines a panel; inches of each
Line = Sequence[Result]  # over the weight


def write_curves(outdir: Path, headings: Mapping[str, Sequence[str]], results: Sequence[Result]) -> list[Path]:
    """Write curves.png and curves.pdf, if a row has several weights, and return the files.

    Args:
        outdir: Where to.
        headings: Of the columns of panels, and the rows that each shows; empty: six rows at a time.
        results: True points first.
    """
    columns = list(_columns(headings, results))
    if not columns:
        return []
    return write_figure(curves_figure(columns, results), outdir / "curves", ("png", "pdf"))


def curves_figure(columns: Sequence[tuple[str, list[Line]]], results: Sequence[Result]) -> Any:
    """A column of panels for each group of lines, a row for each metric, each panel with an axis of its own.

    Bands are mean +- standard deviation over the blocks; horizontal lines are true points and the main model alone.
    """
    names = [name for name in _DRAWN if name in results[0].scores]
    figure, found = panels(len(names), len(columns), _SIZE)
    levels = _levels(results)
    for i, name in enumerate(names):
        row = found[i * len(columns) : (i + 1) * len(columns)]
        for axes, (heading, lines) in zip(row, columns, strict=True):
            _draw(axes, lines, levels, name)
            _scale(axes, [r.mean(name) for line in lines for r in line])
            axes.set_title(heading if i == 0 else "", fontsize=10)
        row[0].set_ylabel(METRICS[name].title, fontsize=9)
    for axes, (_, lines) in zip(found[-len(columns) :], columns, strict=True):
        varied = {AXES[line[0].vary] for line in lines}
        axes.set_xlabel(varied.pop() if len(varied) == 1 else "weight or scale", fontsize=8)
        axes.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.3))
    return figure


def _columns(headings: Mapping[str, Sequence[str]], results: Sequence[Result]) -> Iterator[tuple[str, list[Line]]]:
    lines = _lines(results)
    if not headings:
        names = list(dict.fromkeys(row for row, *_ in lines))
        headings = {" " * i: names[i : i + _LINES] for i in range(0, len(names), _LINES)}
    for heading, rows in headings.items():
        drawn = [line for (row, *_), line in lines.items() if row in rows]
        if drawn:
            yield heading.strip(), drawn


def _lines(results: Sequence[Result]) -> dict[tuple, Line]:
    """Settings of a row that differ in the weight alone, if there are two of them."""
    found = defaultdict(list)
    for r in results:
        if r.guided:
            found[r.row, r.main_ema, r.guide_ema, r.guide_nimg].append(r)
    return {key: sorted(line, key=lambda r: r.weight) for key, line in found.items() if len(line) > 1}


def _levels(results: Sequence[Result]) -> dict[str, Result]:
    """True points and the first row that is alone."""
    alone = [r for r in results if r.row != TRUTH and not r.guided][:1]
    return {r.row: r for r in (results[0], *alone)}


def _draw(axes: Any, lines: Sequence[Line], levels: Mapping[str, Result], name: str) -> None:
    for (label, r), style in zip(levels.items(), ("-", "--"), strict=False):
        axes.axhline(r.mean(name), color="0.35", lw=1, ls=style, label=label)
    for line, color in zip(lines, COLORS, strict=False):
        weights, means = [r.weight for r in line], [r.mean(name) for r in line]
        spread = [r.spread(name) or 0 for r in line]
        low, high = ([m + sign * s for m, s in zip(means, spread, strict=True)] for sign in (-1, 1))
        axes.fill_between(weights, low, high, color=color, alpha=0.15, lw=0)
        axes.plot(weights, means, color=color, marker="o", ms=3, lw=1.3, label=textwrap.fill(line[0].row, 44))


def _scale(axes: Any, values: Sequence[float]) -> None:
    """Logarithmic where the curves span more than a factor of ten; true points, near 0, may then lie below."""
    from matplotlib.ticker import NullFormatter

    axes.tick_params(labelsize=7)
    if min(values) > 0 and max(values) > 10 * min(values):
        axes.set_yscale("log")
        axes.set_ylim(min(values) / 1.5, max(values) * 1.5)
        axes.yaxis.set_minor_formatter(NullFormatter())
