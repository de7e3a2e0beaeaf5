"""Heat maps of settings: main EMA by guide EMA, and training length of the guide by weight."""

import io
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edm2lite.config import Nimg, parse_metric
from edm2lite.evaluation.metrics.uncertainty import statistically_tied
from edm2lite.evaluation.report.markup import INK, inline_svg
from edm2lite.evaluation.tables.result import Result, best_of, number

_ANNOTATED = 13  # more columns than these, and there is no room for numbers


@dataclass(frozen=True)
class Axis:
    """A side of the map: its name, what it says of a result, and how it writes that."""

    name: str
    of: Callable[[Result], float | None]
    shown: Callable[[float], str] = "{:g}".format


MAIN_EMA = Axis("EMA length of the main model", lambda r: r.main_ema)
GUIDE_EMA = Axis("EMA length of the guide", lambda r: r.guide_ema)
GUIDE_NIMG = Axis("training length of the guide", lambda r: r.guide_nimg, lambda v: str(Nimg(v)))
WEIGHT = Axis("guidance weight w", lambda r: r.weight)
EMAS, NIMG_WEIGHT = (GUIDE_EMA, MAIN_EMA), (WEIGHT, GUIDE_NIMG)  # x, y


@dataclass(frozen=True)
class HeatMap:
    """Results by two of their settings, each cell at its best over all others.

    All are of equally many images on the same seeds: others cannot be compared.

    Attributes:
        metric: Whose values.
        x, y: The sides.
        columns, rows: Their values, ascending.
        cells: The best result by (row, column); what was not measured is missing.
        tied: Cells that cannot be told from the best one (95 %, block by block on common seeds).
        winner: The cell to outline.
    """

    metric: str
    x: Axis
    y: Axis
    columns: tuple[float, ...]
    rows: tuple[float, ...]
    cells: dict[tuple[int, int], Result]
    tied: frozenset[tuple[int, int]]
    winner: tuple[int, int] | None


def make_map(
    results: Sequence[Result], metric: str, sides: tuple[Axis, Axis] = EMAS, winner: Result | None = None
) -> HeatMap | None:
    """The map of some results.

    Args:
        results: Of equally many images on the same seeds; those without a value on one side are left out.
        metric: Name of the metric.
        sides: What lies along x and y: `EMAS` or `NIMG_WEIGHT`.
        winner: The setting to outline; default: the best result.

    Returns:
        None if there are not two values along each side.
    """
    x, y = sides
    found = [r for r in results if x.of(r) is not None and y.of(r) is not None and r.guided]
    columns, rows = (tuple(sorted({value for r in found if (value := axis.of(r)) is not None})) for axis in sides)
    if len(columns) < 2 or len(rows) < 2:
        return None
    place = lambda r: (rows.index(y.of(r)), columns.index(x.of(r)))  # noqa: E731
    at: dict[tuple[int, int], list[Result]] = {}
    for r in found:
        at.setdefault(place(r), []).append(r)
    cells = {where: best for where, those in at.items() if (best := best_of(those, metric)) is not None}
    best = best_of(list(cells.values()), metric)
    assert best is not None
    tied = {where for where, r in cells.items() if r is best or _tied(best, r, metric)}
    return HeatMap(metric, x, y, columns, rows, cells, frozenset(tied), place(winner or best))


def _tied(best: Result, other: Result, metric: str) -> bool:
    return statistically_tied(best.blocks(metric), other.blocks(metric))


def heat_map(drawn: HeatMap) -> str:
    """The map as part of a page: SVG."""
    svg = io.StringIO()
    name = f"{drawn.metric} {drawn.x.name} {drawn.y.name}"
    save(map_figure(drawn, INK), svg, salt=name)
    return inline_svg(svg.getvalue(), f"{parse_metric(drawn.metric).title} over {drawn.x.name} and {drawn.y.name}")


def caption(drawn: HeatMap) -> str:
    """What is to be seen, for people."""
    scores = next(iter(drawn.cells.values())).scores[drawn.metric]
    count = f"{len(scores)} x {scores[0].num_images}" if len(scores) > 1 else f"{scores[0].num_images}"
    return (
        f"{parse_metric(drawn.metric).title} of {count} images, each cell at the best of all other settings; outlined: the "
        "winner; hatched: not to be told from the best cell (95 %, on common seeds); blank: not measured"
    )


def map_figure(drawn: HeatMap, ink: str = "black", title: str | None = None) -> Any:
    """The map as a figure of matplotlib.

    Args:
        drawn: What to draw.
        ink: Colour of text and axes.
        title: Above it, where there is no page to say what it is.
    """
    import numpy as np
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    values = np.full((len(drawn.rows), len(drawn.columns)), np.nan)
    for where, r in drawn.cells.items():
        values[where] = r.mean(drawn.metric)
    with rc_context(_colors(ink)):
        size = (min(1.9 + 0.62 * len(drawn.columns), 9), min(1.3 + 0.46 * len(drawn.rows), 8))
        figure = Figure(figsize=(max(size[0], 4.2), max(size[1], 2.6)), layout="constrained")
        axes = figure.subplots()
        if title is not None:
            axes.set_title(textwrap.fill(title, round(12 * figure.get_figwidth())), fontsize=8)
        lower = parse_metric(drawn.metric).lower_is_better
        image = axes.imshow(
            values, cmap="viridis_r" if lower else "viridis", norm=_scale(values), aspect="auto", origin="lower"
        )
        _sides(axes, drawn)
        for where, r in drawn.cells.items():
            _mark(axes, drawn, where, _contrast(image, values[where]))
            if len(drawn.columns) <= _ANNOTATED:
                _annotate(axes, drawn, where, r, _contrast(image, values[where]))
        figure.colorbar(image, ax=axes, label=parse_metric(drawn.metric).title).ax.minorticks_off()
    return figure


def save(figure: Any, target: Any, form: str = "svg", salt: str = "edm2lite", face: str = "none") -> None:
    """Write a figure; the same figure makes the same bytes, but `salt` must differ within a page."""
    from matplotlib import rc_context

    style: Any = {"svg.fonttype": "none", "svg.hashsalt": salt}
    with rc_context(style):
        date: dict[str, Any] = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(form, {})
        figure.savefig(target, format=form, metadata=date, facecolor=face, dpi=150)


def _colors(ink: str) -> Any:
    """Settings of matplotlib."""
    names = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    return {"font.size": 9, "axes.facecolor": "none", "hatch.linewidth": 0.6, **dict.fromkeys(names, ink)}


def _scale(values: Any) -> Any:
    """Logarithmic where values span more than a factor of five."""
    import numpy as np
    from matplotlib.colors import LogNorm, Normalize

    low, high = np.nanmin(values), np.nanmax(values)
    return LogNorm(low, high) if 0 < 5 * low < high else Normalize(low, high)


def _contrast(image: Any, value: float) -> str:
    """Black or white, whatever can be read on the colour of a value."""
    red, green, blue, _ = image.cmap(image.norm(value))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"


def _sides(axes: Any, drawn: HeatMap) -> None:
    """Names and values along both sides; of many values every second, third ..."""
    for side, axis, values in (("x", drawn.x, drawn.columns), ("y", drawn.y, drawn.rows)):
        every = range(0, len(values), -(-len(values) // _ANNOTATED))
        labels = [axis.shown(values[i]) for i in every]
        axes.set(**{f"{side}ticks": list(every), f"{side}ticklabels": labels, f"{side}label": axis.name})
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _mark(axes: Any, drawn: HeatMap, where: tuple[int, int], color: str) -> None:
    """Hatch a cell that is tied, outline the winner."""
    from matplotlib.patches import Rectangle

    row, column = where
    if where in drawn.tied:
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, hatch="////", ec=color, lw=0, alpha=0.35))
    if where == drawn.winner:
        axes.add_patch(Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, fill=False, ec="#d55e00", lw=2.5, zorder=3))


def _annotate(axes: Any, drawn: HeatMap, where: tuple[int, int], r: Result, color: str) -> None:
    """The value, and below it the weight, or the EMA lengths, that gave it."""
    row, column = where
    below = f"w {r.weight:g}" if drawn.x is not WEIGHT else f"{r.main_ema:g}/{r.guide_ema:g}"
    text = f"{number(drawn.metric, r.mean(drawn.metric))}\n{below}"
    box = {"boxstyle": "square,pad=0.15", "fc": _face(axes, drawn, where), "ec": "none"}
    axes.text(column, row, text, ha="center", va="center", fontsize=7, color=color, bbox=box, zorder=4)


def _face(axes: Any, drawn: HeatMap, where: tuple[int, int]) -> Any:
    """The colour of a cell, so that its hatching does not run through its text."""
    (image,) = axes.images
    return image.cmap(image.norm(drawn.cells[where].mean(drawn.metric)))
