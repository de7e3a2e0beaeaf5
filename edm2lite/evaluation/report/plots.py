"""Curves of a table: metrics over guidance weights and over EMA lengths."""

from collections import defaultdict
from dataclasses import replace

from edm2lite.config import ModelRef, TableConfig, parse_metric
from edm2lite.config.tables import VARIED
from edm2lite.evaluation.report.drawing import Band, Line, draw
from edm2lite.evaluation.tables.result import Result, best_of, ema_text
from edm2lite.evaluation.tables.results import Table

AXES = {
    "weight": "guidance weight w",
    "truncation": "truncation",
    "classifier": "scale of classifier guidance",
    "gradient": "scale of gradient guidance",
}


def over_weight(table: Table, cfg: TableConfig, metric: str, vary: str) -> str | None:
    """A metric over what rows vary, a line per row at the EMA lengths of its best value; the band is the best without guidance.

    Returns:
        HTML of the drawing; None: no row varies that.
    """
    found = [line for line in best_lines(table, cfg, metric) if line[0].vary == vary]
    if not found:
        return None
    lines = [_line(results, metric, i) for i, results in enumerate(found)]
    return draw(lines, AXES[vary], parse_metric(metric).title, _band(table, metric))


def over_ema(table: Table, cfg: TableConfig, metric: str) -> str | None:
    """A metric of the main model alone over its EMA length, a line per main; None: nowhere are there two EMA lengths."""
    mains, found = _mains(cfg), defaultdict(list)
    for r in sorted(table.results, key=lambda r: r.main_ema or 0):
        if not r.guided and r.main_ema is not None:
            found[mains[r.row]].append(r)
    if max(map(len, found.values()), default=0) < 2:
        return None
    lines = [
        Line(
            results[0].row, [r.main_ema or 0 for r in results], [r.mean(metric) for r in results], i,
            [error_of(r, metric) for r in results],
        )
        for i, results in enumerate(found.values())
    ]  # fmt: skip
    return draw(lines, "EMA length of the main model alone", parse_metric(metric).title)


def best_lines(table: Table, cfg: TableConfig, metric: str) -> list[list[Result]]:
    """Of each guided row the results over w with the models of its best value, from its main alone on if that is measured."""
    mains, rows = _mains(cfg), defaultdict(list)
    for r in table.results:
        if r.guided:
            rows[r.row].append(r)
    alone = {(mains[r.row], r.main_ema): r for r in table.results if not r.guided}
    lines = []
    for results in rows.values():
        top = best_of(results, metric)
        assert top is not None
        line = [r for r in results if _models(r) == _models(top)]
        if start := alone.get((mains[top.row], top.main_ema)):
            line.append(replace(top, weight=VARIED[top.vary], scores=start.scores))
        lines.append(sorted(line, key=lambda r: r.weight))
    return lines


def error_of(result: Result, metric: str) -> float | None:
    """Half length of an error bar: standard deviation over blocks; of one block its jackknife standard error, if any."""
    spread = result.spread(metric)
    return result.se(metric) if spread is None else spread


def error_name(table: Table, metric: str) -> str:
    """What the error bars of a metric are, for captions."""
    counts = {len(r.scores[metric]) for r in table.results}
    if counts == {1}:
        known = any(r.se(metric) is not None for r in table.results)
        return "jackknife standard error of the one block" if known else "none, for there is one block"
    sd = "standard deviation over blocks of seeds"
    return sd if 1 not in counts else f"{sd}; of a single block its jackknife standard error"


def _line(results: list[Result], metric: str, style: int) -> Line:
    first = results[0]
    guide = f", guide {ema_text(first.guide_ema)}" if first.guide_ema is not None else ""
    return Line(
        f"{first.row} (EMA {ema_text(first.main_ema)}{guide})", [r.weight for r in results],
        [r.mean(metric) for r in results], style, [error_of(r, metric) for r in results], first.published.get(metric),
    )  # fmt: skip


def _band(table: Table, metric: str) -> Band | None:
    best = table.best(False, metric)
    if best is None:
        return None
    name = f"best without guidance (EMA {ema_text(best.main_ema)})"
    return Band(name, best.mean(metric), error_of(best, metric) or 0)


def _models(r: Result) -> tuple[float | None, float | None, int | None]:
    return r.main_ema, r.guide_ema, r.guide_nimg


def _mains(cfg: TableConfig) -> dict[str, ModelRef]:
    """The main model of each row, with its degradations."""
    return {row.name: cfg.main_of(row) for row in cfg.rows}
