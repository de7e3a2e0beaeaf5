"""Curves of trainings: loss, and what was measured on the way."""

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from edm2lite.config import parse_metric
from edm2lite.errors import UserError
from edm2lite.evaluation.report.drawing import Line, draw

_Row = dict[str, str]


def training_curves(runs: Sequence[Path]) -> list[tuple[str, str]]:
    """Drawings of run directories with captions: loss (metrics.csv), and each metric of watch.csv, where there are such.

    A run that is gone, or that has no such file, has no line. Looks of different settings are not comparable: of each there is
    a line of its own.
    """
    losses = [(run.name, _rows(run / "metrics.csv")) for run in runs]
    figures = [("Training loss.", drawn)] if (drawn := _drawn(losses, "loss", "loss")) else []
    looks = [look for run in runs for look in _looks(run)]
    for metric in dict.fromkeys(name for _, rows in looks for row in rows for name in row if _is_metric(name)):
        title = parse_metric(metric).title
        if drawn := _drawn(looks, metric, title):
            figures.append((f"{title} of few images while training, for trends alone; bars: standard error.", drawn))
    return figures


def _drawn(found: Sequence[tuple[str, list[_Row]]], column: str, axis: str) -> str:
    """A column over nimg, a line for each of the named lists of rows that has values; empty: none has."""
    lines = []
    for i, (name, rows) in enumerate(found):
        points = [(_number(row, "nimg"), _number(row, column), _number(row, f"{column}_se")) for row in rows]
        given = [(x / 1024, y, error) for x, y, error in points if x is not None and y is not None]
        if given:
            lines.append(Line(name, [p[0] for p in given], [p[1] for p in given], i, [p[2] for p in given]))
    return draw(lines, "training images (Ki)", axis) if lines else ""


def _looks(run: Path) -> list[tuple[str, list[_Row]]]:
    """The lines of a watch.csv by their settings: name of the run, and that of the settings if there are several; lines."""
    found = defaultdict(list)
    for row in _rows(run / "watch.csv"):
        found[row.get("setup", "")].append(row)
    return [(run.name if len(found) == 1 else f"{run.name}, setup {setup}", rows) for setup, rows in found.items()]


def _is_metric(column: str) -> bool:
    """Whether a column of watch.csv is a metric: others are nimg, setup, ema, N and standard errors."""
    try:
        parse_metric(column)
    except UserError:
        return False
    return True


def _rows(path: Path) -> list[_Row]:
    """The lines of a CSV; of a file that is not there none."""
    if not path.is_file():
        return []
    with open(path, newline="") as f:
        return [{name: value for name, value in row.items() if name and value} for row in csv.DictReader(f)]


def _number(row: _Row, column: str) -> float | None:
    """A value; None: there is none, or the line is torn, as a process that is at work may leave it."""
    try:
        return float(row[column])
    except (KeyError, ValueError):
        return None
