"""What all figures in files have in common: how they look, and how they are written."""

from pathlib import Path
from typing import Any

from edm2lite.evaluation.report.heatmap import save
from edm2lite.files import atomic_path


def write_figure(figure: Any, path: Path) -> None:
    """Write a figure of matplotlib as SVG and as PNG; `path` has no suffix."""
    for form in ("svg", "png"):
        with atomic_path(path.with_name(f"{path.name}.{form}")) as temporary:
            save(figure, temporary, form, face="white")


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
