"""Tables of the report: all results, each row at its best, and the winners on fresh seeds."""

from edm2lite.config import parse_metric
from edm2lite.evaluation.report.markup import element, scrolling
from edm2lite.evaluation.tables.hypertext import html_caption, html_grid
from edm2lite.evaluation.tables.layout import Field, Grid, best_grid, settings_grid, value_text
from edm2lite.evaluation.tables.result import number
from edm2lite.evaluation.tables.results import Table

_SHORT = 12  # rows of a table that is not divided between two printed pages


def all_results(table: Table) -> str:
    """Every setting by all metrics, with published values, and what its marks mean."""
    grid = settings_grid(table)
    return element("p", html_caption(table), class_="soft") + boxed(grid, "all settings")


def rows_at_best(table: Table) -> str:
    """Each row at its best setting by each metric, beside the published value and the best main alone."""
    return "".join(boxed(best_grid(table, metric)) for metric in table.metrics)


def confirmation(table: Table) -> str:
    """The winners in the search and on fresh seeds, side by side; empty: none was confirmed."""
    title = parse_metric(table.first).title
    caption = f"The winners by {title}: on the seeds they were chosen on, which flatter them, and on fresh ones"
    grid = Grid(caption, ["which", "setting", "metric", "search", "fresh seeds", "change"], text_columns=3)
    for guided, fresh in sorted(table.confirmed.items()):
        found = table.best(guided)
        assert found is not None
        for metric in table.metrics:
            change = fresh.mean(metric) - found.mean(metric)
            grid.rows.append([
                Field("best guided" if guided else "best alone"), Field(fresh.setting), Field(parse_metric(metric).title),
                Field(value_text(found, metric), found.mean(metric)), Field(value_text(fresh, metric), fresh.mean(metric)),
                Field(number(metric, change, "+"), change),
            ])  # fmt: skip
    return boxed(grid) if grid.rows else ""


def boxed(grid: Grid, label: str = "") -> str:
    """A table in a box that scrolls; `label` is the name of the box, by default its caption."""
    return scrolling(html_grid(grid), label or grid.caption, short=len(grid.rows) <= _SHORT)
