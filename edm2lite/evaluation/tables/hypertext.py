"""Tables as fragments of HTML, for the report or any page. Imports no torch."""

import html

from edm2lite.evaluation.tables.claims import verdicts
from edm2lite.evaluation.tables.layout import Field, Grid, best_grids, legend, settings_grid
from edm2lite.evaluation.tables.results import Table


def html_table(table: Table) -> str:
    """A `<table>` of all settings.

    Cells with numbers carry `data-value` to sort by; the best has class "best", those tied with it "tied"; a pointer that
    rests on a metric is told its blocks.
    """
    return html_grid(settings_grid(table))


def html_best_tables(table: Table) -> str:
    """A `<table>` for each metric that matters, of each row at its best."""
    return "\n".join(html_grid(grid) for grid in best_grids(table))


def html_caption(table: Table) -> str:
    """What the table shows and what its marks mean, as text to put beside it; escaped."""
    note = legend(table).replace("Cells marked ~", "Underlined cells")
    return _numbers(html.escape(f"{settings_grid(table).caption}. Bold: best. {note}"))


def html_fragment(table: Table) -> str:
    """Caption, both tables, verdict and claims; with a style that touches nothing else of a page."""
    verdict = "".join(f"<li>{html.escape(line)}</li>" for line in table.verdict())
    style = (
        "<style>.edm2lite-table table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:1em 0}"
        ".edm2lite-table caption{text-align:left;font-weight:600}"
        ".edm2lite-table th,.edm2lite-table td{padding:.2em .6em;border-bottom:1px solid #ddd;text-align:left}"
        ".edm2lite-table td{white-space:nowrap}.edm2lite-table .number{text-align:right}.edm2lite-table .best{font-weight:700}"
        ".edm2lite-table .tied{text-decoration:underline}.edm2lite-table>div{overflow-x:auto}</style>"
    )
    return (
        f'<section class="edm2lite-table">{style}\n<p>{html_caption(table)}</p>\n<div>{html_table(table)}</div>\n'
        f"<div>{html_best_tables(table)}</div>\n<ul>{verdict}</ul>{html_claims(table)}</section>\n"
    )


def html_claims(table: Table) -> str:
    """A `<ul>` of the verdicts on the claims, with the comparisons below each; "" without claims."""
    items = []
    for verdict in verdicts(table):
        reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in verdict.reasons)
        says = f"<strong>{verdict.word}</strong>: {html.escape(verdict.says)}"
        items.append(f"<li>{says}<ul>{reasons}</ul></li>")
    return f'<ul class="claims">{"".join(items)}</ul>' if items else ""


def html_grid(grid: Grid) -> str:
    """One <table>; numbers carry their exact value as data-value, by which a script can sort."""
    classes = ["" if i < grid.text_columns else ' class="number"' for i in range(len(grid.head))]
    head = "".join(
        f'<th scope="col"{css}>{html.escape(name)}</th>' for name, css in zip(grid.head, classes, strict=True)
    )
    body = "\n".join(
        "<tr>" + "".join(_cell(field, i >= grid.text_columns) for i, field in enumerate(row)) + "</tr>"
        for row in grid.rows
    )
    caption = f"<caption>{html.escape(grid.caption)}</caption>" if grid.text_columns > 1 else ""
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _cell(field: Field, is_number: bool) -> str:
    classes = " ".join(name for name in ("number" if is_number else "", field.mark) if name)
    attributes = f' class="{classes}"' if classes else ""
    if field.value is not None:
        attributes += f' data-value="{field.value!r}"'
    if field.note:
        attributes += f' title="{html.escape(field.note)}"'
    text = html.escape(field.text)
    return f"<td{attributes}>{_numbers(text) if is_number else text}</td>"


def _numbers(text: str) -> str:
    return text.replace("+-", "&plusmn;")
