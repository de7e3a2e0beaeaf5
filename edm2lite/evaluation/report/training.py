"""Curves of trainings: loss, and what was measured on the way."""

import csv
from collections.abc import Sequence
from pathlib import Path

from edm2lite.evaluation.report.drawing import Line, draw

_SETTINGS = ("nimg", "ema", "num_images")  # columns of watch.csv that are no metric


def training_curves(runs: Sequence[Path]) -> list[tuple[str, str]]:
    """Drawings of run directories with captions: loss (metrics.csv), and each metric of watch.csv, where there are such.

    A run that is gone, or that has no such file, has no line.
    """
    drawn = _drawn([(run.name, *_columns(run / "metrics.csv", "loss")) for run in runs], "loss")
    figures = [("Training loss.", drawn)] if drawn else []
    for metric in dict.fromkeys(name for run in runs for name in _watched(run / "watch.csv")):
        drawn = _drawn([(run.name, *_columns(run / "watch.csv", metric)) for run in runs], metric)
        figures.append((f"{metric} of few images while training, for trends alone.", drawn))
    return figures


def _drawn(found: list[tuple[str, list[float], list[float]]], axis: str) -> str:
    lines = [Line(name, [n / 1024 for n in x], y, i) for i, (name, x, y) in enumerate(found) if x]
    return draw(lines, "training images (Ki)", axis) if lines else ""


def _watched(path: Path) -> list[str]:
    """The metrics of a watch.csv that have a value."""
    if not path.is_file():
        return []
    with open(path, newline="") as f:
        rows = list(csv.DictReader(f))
    return [name for name in (rows[0] if rows else []) if name not in _SETTINGS and any(row[name] for row in rows)]


def _columns(path: Path, column: str) -> tuple[list[float], list[float]]:
    """nimg and one column of a CSV; rows without it are left out."""
    if not path.is_file():
        return [], []
    with open(path, newline="") as f:
        rows = [row for row in csv.DictReader(f) if row.get(column)]
    return [float(row["nimg"]) for row in rows], [float(row[column]) for row in rows]
