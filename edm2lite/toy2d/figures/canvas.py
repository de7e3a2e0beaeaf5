"""What all drawings of the 2D example share: colours, an empty panel, points, files."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from edm2lite.files import atomic_path
from edm2lite.toy2d.figures.regions import Box

REGION = "#fbd7ae"  # where class A lies
OTHER = "#e2e2e2"  # where class B lies
POINT = "#1f3552"
OUTLIER = "#d1001f"
FRAME = "0.75"
_DPI = 200


def bare(axes: Any, box: Box) -> None:
    """Make a panel show a box, with equal scales, a thin frame and no ticks."""
    axes.set(xlim=box.x, ylim=box.y, xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set(color=FRAME, linewidth=0.8)


def scatter(axes: Any, points: Tensor, outlier: Tensor, size: float) -> None:
    """Points [N, 2] as dots of a diameter in typographic points; outliers, bool [N], larger, red and above the others."""
    for chosen, color, factor in ((~outlier, POINT, 1.0), (outlier, OUTLIER, 1.5)):
        x, y = np.asarray(points[chosen]).T
        axes.plot(x, y, ".", color=color, ms=size * factor, mew=0)


def write(figure: Any, path: Path) -> list[Path]:
    """Write a figure as PNG and as PDF; `path` has no suffix. The same figure makes the same bytes."""
    from matplotlib import rc_context

    files = [path.with_name(f"{path.name}.{form}") for form in ("png", "pdf")]
    metadata: list[dict[str, Any]] = [{}, {"CreationDate": None}]
    for file, data in zip(files, metadata, strict=True):
        with atomic_path(file) as temporary, rc_context({"pdf.fonttype": 42}):
            figure.savefig(temporary, format=file.suffix[1:], metadata=data, dpi=_DPI, facecolor="white")
    return files
