"""Curves of a sweep: the score over the weight, and the best so far over the points screened."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from edm2lite.config import Nimg, parse_metric
from edm2lite.evaluation.report.drawing import COLORS
from edm2lite.evaluation.tables.figures import panels
from edm2lite.evaluation.tables.result import Result, best_of, ema_text, rank

_LINES, _SIZE = 4, (6.4, 4)  # lines; inches
_APART = 0.012  # of the x axis, between the error bars of lines


def weight_figure(results: Sequence[Result], alone: Sequence[Result], metric: str, count: str) -> Any | None:
    """The metric over what varies, a line for each of the best pairs of models; the band is the best main alone.

    Args:
        results, alone: Of equally many images on the same seeds.
        metric: Name of the metric.
        count: How many images, for people.

    Returns:
        A figure of matplotlib; None: there are not two weights. Error bars are jackknife standard errors: of single scores, so
        that they are wider than what tells two settings apart on common seeds.
    """
    lines = best_lines(results, metric)
    if max((len(line) for line in lines), default=0) < 2:
        return None
    figure, (axes,) = panels(1, 1, _SIZE)
    if best := best_of(alone, metric):
        error, name = _error(best, metric), f"best alone (EMA {ema_text(best.main_ema)})"
        axes.axhspan(best.mean(metric) - error, best.mean(metric) + error, color="0.88", lw=0)
        axes.axhline(best.mean(metric), color="0.4", lw=1, label=name)
    span, nimg = _span(lines), len({r.guide_nimg for r in results}) > 1
    for i, (line, color) in enumerate(zip(lines, COLORS, strict=False)):
        y, errors = [r.mean(metric) for r in line], [_error(r, metric) for r in line]
        axes.plot([r.weight for r in line], y, color=color, marker="o", ms=4, lw=1.4, label=_models(line[0], nimg))
        apart = [r.weight + (i - (len(lines) - 1) / 2) * _APART * span for r in line]
        axes.errorbar(apart, y, errors, color=color, fmt="none", lw=1, capsize=2, alpha=0.6)
    varied = "guidance weight w" if results[0].vary == "weight" else results[0].vary
    _name(axes, varied, f"{parse_metric(metric).title} ({count} images)")
    return figure


def best_lines(results: Sequence[Result], metric: str) -> list[list[Result]]:
    """The results of each pair of models over the weight, of the pairs with the best values, the best pair first."""
    lines = defaultdict(list)
    for r in results:
        lines[r.main_ema, r.guide_ema, r.guide_nimg].append(r)
    ranked = sorted(lines.values(), key=lambda line: min(rank(r, metric) for r in line))
    return [sorted(line, key=lambda r: r.weight) for line in ranked[:_LINES]]


def history_figure(values: Sequence[float], metric: str, count: str) -> Any:
    """Every screened point and the best so far, in the order in which they were finished."""
    lower, best, so_far = parse_metric(metric).lower_is_better, values[0], []
    for value in values:
        best = min(best, value) if lower else max(best, value)
        so_far.append(best)
    figure, (axes,) = panels(1, 1, _SIZE)
    numbers = range(1, len(values) + 1)
    axes.plot(numbers, values, "o", ms=4, color="0.6", label="points")
    axes.step(numbers, so_far, where="post", color=COLORS[0], lw=1.6, label="best so far")
    _name(axes, "points screened", f"{parse_metric(metric).title} ({count} images)")
    return figure


def _error(r: Result, metric: str) -> float:
    """Half length of an error bar: jackknife standard error of the mean; without one, none."""
    return r.se(metric) or 0.0


def _span(lines: Sequence[Sequence[Result]]) -> float:
    weights = [r.weight for line in lines for r in line]
    return max(weights) - min(weights)


def _models(r: Result, with_nimg: bool) -> str:
    guide = f", guide {ema_text(r.guide_ema)}" if r.guide_ema is not None else ""
    nimg = f" at {Nimg(r.guide_nimg)}" if with_nimg and r.guide_nimg is not None else ""
    return f"EMA {ema_text(r.main_ema)}{guide}{nimg}"


def _name(axes: Any, x: str, y: str) -> None:
    axes.set(xlabel=x, ylabel=y)
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
