"""Line charts as SVG, whose text and axes take the colour of the page, with a legend that is text of the page."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edm2lite.evaluation.report.markup import INK, element, inline_svg, text

COLORS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#c06c9a",
    "#8a63d2",
    "#a87b00",
    "#7a7a7a",
    "#c0392b",
)  # on white and on dark
_SHAPES = {  # markers of matplotlib, and how the legend draws them
    "o": '<circle cx="14" cy="7" r="3.5"/>',
    "s": '<rect x="11" y="4" width="6" height="6"/>',
    "^": '<path d="M14 3l4 7h-8z"/>',
    "D": '<path d="M14 2.5L18.5 7L14 11.5L9.5 7z"/>',
    "v": '<path d="M14 11l4-7h-8z"/>',
}
_MANY = 15  # points of a line beyond which they have no markers
_STYLE: Any = {
    "svg.fonttype": "none", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False,
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none",
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color"), INK),
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """A curve; `error` are half lengths of its bars, `level` is drawn dashed over the whole width, `style` is its place."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: int
    error: Sequence[float | None] = ()
    level: float | None = None

    @property
    def marked(self) -> bool:
        return len(self.x) <= _MANY


@dataclass(frozen=True)
class Band:
    """A level to compare with, and half of its width."""

    name: str
    level: float
    width: float


def draw(lines: Sequence[Line], x: str, y: str, band: Band | None = None) -> str:
    """The drawing and its legend, as HTML.

    Args:
        lines: At least one, each with a point.
        x, y: Names of the axes.
        band: Drawn behind the lines.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    names = "".join(line.name for line in lines)
    with rc_context(_STYLE | {"svg.hashsalt": f"{x} {y} {names}"}):  # ids that no other drawing of the page has
        figure = Figure(figsize=(4.8, 3.1), layout="constrained")
        axes = figure.subplots()
        axes.grid(axis="y", alpha=0.15)
        if band is not None:
            axes.axhspan(band.level - band.width, band.level + band.width, color=INK, alpha=0.12, lw=0)
            axes.axhline(band.level, color=INK, lw=1, alpha=0.6)
        for line in lines:
            _plot(axes, line)
        axes.set(xlabel=x, ylabel=y)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.xaxis.set_major_formatter("{x:g}")
        scale(axes, [value for line in lines for value in line.y])
        svg = io.StringIO()
        figure.savefig(svg, format="svg", metadata={"Date": None})
    return inline_svg(svg.getvalue(), f"{y} over {x}") + _legend(lines, band)


def _plot(axes: Any, line: Line) -> None:
    color, marker = _look(line.style)
    axes.plot(line.x, line.y, color=color, lw=1.4, marker=marker if line.marked else None, ms=4.5)
    bars = [(x, y, e) for x, y, e in zip(line.x, line.y, line.error, strict=False) if e is not None]
    if bars:
        axes.errorbar(*zip(*bars, strict=True), color=color, fmt="none", capsize=3, lw=1.2)
    if line.level is not None:
        axes.axhline(line.level, color=color, lw=1.2, ls="--")


def _look(style: int) -> tuple[str, str]:
    """Colour and marker of the line at a place."""
    return COLORS[style % len(COLORS)], list(_SHAPES)[style % len(_SHAPES)]


def scale(axes: Any, values: list[float]) -> None:
    """Logarithmic where values span more than a factor of five; numbers are written out."""
    if min(values) > 0 and max(values) > 5 * min(values):
        axes.set_yscale("log")
        for formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            formatter("{x:g}")


def _legend(lines: Sequence[Line], band: Band | None) -> str:
    """Names of the lines, which wrap on a narrow screen."""
    entries = []
    for line in lines:
        color, marker = _look(line.style)
        point = _SHAPES[marker] if line.marked else ""
        shape = f'<g fill="{color}" stroke="{color}"><path d="M0 7h28"/>{point}</g>'
        entries.append(_entry(shape, line.name))
        if line.level is not None:
            dashes = f'<path d="M0 7h28" stroke="{color}" stroke-dasharray="6 4"/>'
            entries.append(_entry(dashes, f"published: {line.level:g}"))
    if band is not None:
        area = '<path d="M0 7h28" stroke="currentColor" stroke-opacity=".15" stroke-width="12"/>'
        entries.append(_entry(area + '<path d="M0 7h28" stroke="currentColor"/>', band.name))
    return element("ul", "".join(entries), class_="legend")


def _entry(drawing: str, name: str) -> str:
    swatch = element("svg", drawing, width=28, height=14, viewBox="0 0 28 14", aria_hidden="true")
    return element("li", swatch + element("span", text(name)))
