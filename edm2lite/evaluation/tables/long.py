"""A table in long form, for programs: one line for every setting and metric. Imports no torch."""

from collections.abc import Iterator
from typing import Any

from edm2lite.evaluation.tables.marks import marks
from edm2lite.evaluation.tables.results import Result, Table


def long_rows(table: Table) -> list[dict[str, Any]]:
    """Every setting by every metric, then the confirmed ones on their fresh seeds.

    `published`, what is `compared` with it and their `difference` stand at the best setting of a row.
    """
    rows = []
    for metric in table.metrics:
        best = {id(r) for r in table.best_of_rows(metric)}
        for result, mark in zip(table.results, marks(table, metric), strict=True):
            rows.append(_row(result, metric, "table", mark, with_published=id(result) in best))
        rows += [_row(result, metric, "fresh", "", False) for result in table.confirmed.values()]
    return rows


def published_of(result: Result, metric: str) -> tuple[float, float] | None:
    """The published value of a result's row, and what is found less that; None: nothing is published."""
    value = result.published.get(metric)
    return None if value is None else (value, result.compared(metric) - value)


def _row(result: Result, metric: str, seeds: str, mark: str, with_published: bool) -> dict[str, Any]:
    values = result.values(metric)
    known = published_of(result, metric) if with_published else None
    return {
        "row": result.row, "main_ema": result.main_ema, "guide_ema": result.guide_ema, "guide_nimg": result.guide_nimg,
        "varied": result.vary, "value_of_varied": result.weight, "metric": metric, "seeds": seeds,
        "first_seed": result.first_seed, "blocks": len(values), "num_images": result.scores[metric][0].num_images,
        "mean": result.mean(metric), "sd": result.spread(metric), "min": min(values), "se": result.se(metric),
        "extrapolated": result.extrapolated(metric), "published": known and known[0],
        "compared": result.compared(metric) if known else None, "difference": known and known[1], "mark": mark,
        "values": list(values),
    }  # fmt: skip


def csv_rows(table: Table) -> Iterator[list[str]]:
    """Header and lines of the CSV: nothing is rounded, what there is not is empty, blocks are separated by spaces."""
    rows = long_rows(table)
    if rows:
        yield list(rows[0])
    for row in rows:
        yield [_text(value) for value in row.values()]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_text, value))
    return "" if value is None else repr(value) if isinstance(value, float) else str(value)
