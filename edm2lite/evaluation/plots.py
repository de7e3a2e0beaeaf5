"""Curves of the report, as SVG."""

import csv
import io
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

from edm2lite.config import ModelRef, TableConfig
from edm2lite.config.evaluation import VARIED
from edm2lite.evaluation.results import Result, Table, ema_text


def distance_over_weight(table: Table) -> str:
    """SVG: distance over guidance weight, a line per guide at its best EMA lengths, error bars over blocks of seeds.

    The band is the best result without guidance.
    """
    figure, axes = _figure()
    unguided = table.best(False)
    if unguided:
        low, high = unguided.mean - unguided.spread, unguided.mean + unguided.spread
        axes.axhspan(low, high, color="0.85", lw=0)
        axes.axhline(unguided.mean, color="0.4", lw=1, label=f"best alone (EMA {ema_text(unguided.main_ema)})")
    for line in best_lines(table):
        x, y, error = zip(*((r.weight, r.mean, r.spread) for r in line), strict=True)
        label = f"{line[0].row} (EMA {ema_text(line[0].main_ema)}, {ema_text(line[0].guide_ema)})"
        axes.errorbar(x, y, error, marker="o", ms=4, lw=1.4, capsize=3, label=label)
    axes.set(xlabel="guidance weight w, or what the row varies", ylabel="Frechet distance", yscale="log")
    for axis_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        axis_formatter("{x:g}")
    axes.legend(fontsize=8, frameon=False)
    return _svg(figure)


def distance_over_ema(table: Table) -> str:
    """SVG: distance of the main model alone over its EMA length, a line for each main model."""
    figure, axes = _figure()
    mains, lines = _mains(table), defaultdict(list)
    for r in sorted(table.results, key=lambda r: r.main_ema or 0):
        if not r.guided:
            lines[mains[r.row]].append(r)
    for line in lines.values():
        x, y, error = zip(*((r.main_ema or 0, r.mean, r.spread) for r in line), strict=True)
        axes.errorbar(x, y, error, marker="o", capsize=3, label=line[0].row)
    if len(lines) > 1:
        axes.legend(fontsize=8, frameon=False)
    axes.set(xlabel="EMA length sigma_rel of the main model alone", ylabel="Frechet distance")
    return _svg(figure)


def loss_curves(runs: list[Path]) -> str:
    """SVG: training loss over nimg of several runs."""
    figure, axes = _figure()
    for run in runs:
        with open(run / "metrics.csv") as f:
            rows = list(csv.DictReader(f))
        axes.plot([int(r["nimg"]) / 1024 for r in rows], [float(r["loss"]) for r in rows], lw=1.2, label=run.name)
    axes.set(xlabel="training images (Ki)", ylabel="loss")
    axes.legend(fontsize=8, frameon=False)
    return _svg(figure)


def best_lines(table: Table) -> list[list[Result]]:
    """For each guide, its results over w at the EMA lengths of its lowest distance, led by its main if measured alone."""
    mains, lines = _mains(table), defaultdict(list)
    for r in table.results:
        if r.guided:
            lines[r.row].append(r)
    alone = {(mains[r.row], r.main_ema): r for r in table.results if not r.guided}
    best = []
    for results in lines.values():
        top = min(results, key=lambda r: r.mean)
        line = [r for r in results if (r.main_ema, r.guide_ema) == (top.main_ema, top.guide_ema)]
        if start := alone.get((mains[top.row], top.main_ema)):
            line.insert(0, replace(top, weight=VARIED[top.vary], values=start.values))
        best.append(sorted(line, key=lambda r: r.weight))
    return best


def _mains(table: Table) -> dict[str, ModelRef]:
    """The main model of each row, with its degradations."""
    cfg = TableConfig.from_plain(table.config)
    return {row.name: cfg.main_of(row) for row in cfg.rows}


def _figure() -> Any:
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 4), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.92")
    return figure, axes


def _svg(figure: Any) -> str:
    from matplotlib import pyplot

    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    return text.getvalue()
