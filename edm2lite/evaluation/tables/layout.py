"""What a table shows: grids of cells with marks and captions, which the formats only dress. Imports no torch."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from edm2lite.config import Nimg, parse_metric
from edm2lite.evaluation.tables.long import published_of
from edm2lite.evaluation.tables.marks import marks
from edm2lite.evaluation.tables.result import paired_gains
from edm2lite.evaluation.tables.results import Result, Table, ema_text, number


@dataclass(frozen=True)
class Field:
    """One cell.

    Attributes:
        text: As it is read; "+-" stands before a spread.
        value: To sort by; None: it is text.
        mark: BEST, TIED or "".
        note: What a pointer that rests on it is told.
    """

    text: str
    value: float | None = None
    mark: str = ""
    note: str = ""


@dataclass(frozen=True)
class Grid:
    """A table as it is drawn.

    Attributes:
        caption: A sentence or two.
        head: Names of the columns.
        rows: Cells, a row a line.
        text_columns: How many columns from the left are text; the others are numbers.
    """

    caption: str
    head: list[str]
    rows: list[list[Field]] = field(default_factory=list)
    text_columns: int = 1


def settings_grid(table: Table, metrics: Sequence[str] = ()) -> Grid:
    """Every setting, a column for every metric and, where something is published, that and the difference from it.

    Args:
        table: The table.
        metrics: Only these; default: all.
    """
    head = ["row", "EMA main", *_if(_nimgs(table), "guide at"), "EMA guide", _varied(table)]
    lines = [_setting(table, result) for result in table.results]
    for metric in metrics or table.metrics:
        title, has_min, has_published = (
            parse_metric(metric).title,
            _has_minimum(table, metric),
            _published(table, metric),
        )
        head += [title, *_if(has_min, "min"), *_if(has_published, "published", "difference")]
        best = {id(r) for r in table.best_of_rows(metric)}
        for line, result, mark in zip(lines, table.results, marks(table, metric), strict=True):
            line.append(Field(value_text(result, metric), result.mean(metric), mark, _note(result, metric)))
            low = min(result.values(metric))
            line.extend(_if(has_min, Field(number(metric, low), low)))
            line.extend(_if(has_published, *_against(result, metric, id(result) in best)))
    return Grid(_caption(table), head, lines)


def best_grids(table: Table) -> list[Grid]:
    """Each row at its best setting beside the best without guidance: by the first metric, and by the published ones."""
    return [best_grid(table, m) for m in table.metrics if m == table.first or _published(table, m)]


def best_grid(table: Table, metric: str) -> Grid:
    """Each row at its best setting by a metric, the best row first."""
    title, has_min, has_published = parse_metric(metric).title, _has_minimum(table, metric), _published(table, metric)
    head = ["row", "best setting", title, *_if(has_min, "min"), *_if(has_published, "published", "difference")]
    grid = Grid(f"Each row at its best {title}", [*head, "gain over best alone", "sd of gain"], text_columns=2)
    alone, marked = (
        table.best(False, metric),
        {id(r): m for r, m in zip(table.results, marks(table, metric), strict=True)},
    )
    for r in table.best_of_rows(metric):
        low = min(r.values(metric))
        grid.rows.append(
            [
                Field(r.row), Field(r.setting.removeprefix(f"{r.row}, ")),
                Field(value_text(r, metric), r.mean(metric), marked[id(r)], _note(r, metric)),
                *_if(has_min, Field(number(metric, low), low)), *_if(has_published, *_against(r, metric, True)),
                *_gain(alone, r, metric),
            ]
        )  # fmt: skip
    return grid


def value_text(result: Result, metric: str) -> str:
    """Mean +- spread over the blocks, or of one block the value +- its standard error."""
    spread, se = result.spread(metric), result.se(metric)
    error = spread if spread is not None else se
    return number(metric, result.mean(metric)) + (f" +- {number(metric, error)}" if error is not None else "")


def legend(table: Table) -> str:
    """What the marks mean, and how published values are compared."""
    text = "Cells marked ~ cannot be told apart from the best (95 %, paired on common seeds)."
    if any(_published(table, metric) for metric in table.metrics):
        text += (
            " Published values are compared with the best setting of their row: FID with the minimum of its blocks, as the "
            "papers report it, other metrics with the mean."
        )
    return text


def _caption(table: Table) -> str:
    counts = {score.num_images for r in table.results for m in table.metrics for score in r.scores[m]}
    blocks = {len(r.values(m)) for r in table.results for m in table.metrics}
    errors = "value +- jackknife standard error" if blocks == {1} else "mean +- standard deviation"
    return (
        f"{table.config.get('title', 'Table')}: {_metrics(table)}; reference: {_reference(table)}; {_range(counts)} images a "
        f"block, {_range(blocks)} block{'' if blocks == {1} else 's'} of seeds: {errors}"
    )


def _metrics(table: Table) -> str:
    """FD, KD in digits-classifier-v1; FID in ..."""
    by_detector: dict[str, list[str]] = {}
    for metric in table.metrics:
        detector = table.protocol[metric]["detector"]["detector"]
        by_detector.setdefault(detector, []).append(parse_metric(metric).title)
    return ", ".join(f"{', '.join(titles)} in {detector}" for detector, titles in by_detector.items())


def _reference(table: Table) -> str:
    images, name = table.reference.get("num_images"), table.reference.get("name") or table.reference.get("file")
    return f"{images} images of {name}" if images else str(name)


def _range(counts: set[int]) -> str:
    low, high = min(counts, default=0), max(counts, default=0)
    return f"{low}" if low == high else f"{low} to {high}"


def _if(condition: bool, *values: str | Field) -> list:
    return list(values) if condition else []


def _varied(table: Table) -> str:
    """Heading of the weights: what all guided rows vary."""
    kinds = {r.vary for r in table.results if r.guided} or {"weight"}
    names = {"weight": "w", "classifier": "classifier scale", "gradient": "gradient scale"}
    return names.get(*kinds, *kinds) if len(kinds) == 1 else "w or other"


def _nimgs(table: Table) -> bool:
    """Whether a row tries several training lengths of its guide."""
    return len({(r.row, r.guide_nimg) for r in table.results}) > len({r.row for r in table.results})


def _setting(table: Table, r: Result) -> list[Field]:
    mixed = _varied(table) == "w or other" and r.guided
    weight = r.strength if mixed else f"{r.weight:g}"
    nimg = Field("-" if r.guide_nimg is None else str(Nimg(r.guide_nimg)), r.guide_nimg)
    return [
        Field(r.row), Field(ema_text(r.main_ema), r.main_ema), *_if(_nimgs(table), nimg),
        Field(ema_text(r.guide_ema), r.guide_ema), Field(weight, r.weight),
    ]  # fmt: skip


def _has_minimum(table: Table, metric: str) -> bool:
    """Papers report the minimum over blocks of Frechet distances alone."""
    return parse_metric(metric).kind == "fd" and any(len(r.values(metric)) > 1 for r in table.results)


def _published(table: Table, metric: str) -> bool:
    return any(metric in r.published for r in table.results)


def _against(result: Result, metric: str, is_best: bool) -> tuple[Field, Field]:
    known = published_of(result, metric) if is_best else None
    if known is None:
        return Field(""), Field("")
    return Field(f"{known[0]:g}", known[0]), Field(number(metric, known[1], sign="+"), known[1])


def _gain(alone: Result | None, result: Result, metric: str) -> tuple[Field, Field]:
    """How much better than the best without guidance, and the spread of that over common blocks."""
    gains = paired_gains(alone, result, metric) if alone else []
    if not gains:
        return Field("-"), Field("-")
    mean, sd = statistics.fmean(gains), statistics.stdev(gains) if len(gains) > 1 else None
    return Field(number(metric, mean, "+"), mean), Field("-") if sd is None else Field(number(metric, sd), sd)


def _note(result: Result, metric: str) -> str:
    """All blocks, standard error, N."""
    values, se = " ".join(number(metric, v) for v in result.values(metric)), result.se(metric)
    error = "" if se is None else f"; standard error {number(metric, se)}"
    return f"blocks {values}{error}; N = {result.scores[metric][0].num_images}"
