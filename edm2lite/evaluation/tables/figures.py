"""What all figures in files have in common: how they look, and how they are written."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edm2lite.evaluation.report.heatmap import save
from edm2lite.files import atomic_path


def write_figure(figure: Any, path: Path, forms: Sequence[str] = ("svg", "png")) -> list[Path]:
    """Write a figure of matplotlib in some forms (svg, png, pdf), and return the files; `path` has no suffix."""
    files = [path.with_name(f"{path.name}.{form}") for form in forms]
    for file, form in zip(files, forms, strict=True):
        with atomic_path(file) as temporary:
            save(figure, temporary, form, face="white")
    return files


def panels(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, list[Any]]:
    """A figure and its axes, row by row: no frame, fine lines across.

    Args:
        rows, columns: How many panels.
        size: Width and height of each, in inches.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    found = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in found:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="0.92")
    return figure, found
