"""Tables in the terminal. Imports no torch."""

import sys
from typing import IO

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from edm2lite.evaluation.tables.claims import verdicts
from edm2lite.evaluation.tables.layout import Field, Grid, best_grids, legend, settings_grid
from edm2lite.evaluation.tables.marks import BEST, TIED
from edm2lite.evaluation.tables.results import Table

_STYLES = {BEST: "bold green", TIED: "cyan"}
_CLAIMS = {True: "green", False: "red", None: ""}
_WIDE = 400  # columns where nobody folds lines: files, pipes


def print_table(table: Table, file: IO[str] | None = None) -> None:
    """All settings, each row at its best, the verdict, the claims; in colours where `file` (standard output) is a terminal.

    The marks do not need colours: * is best, ~ tied with it. NO_COLOR is obeyed. In a narrow terminal every metric has a table
    of its own, and names of rows are folded; numbers never are.
    """
    file = file or sys.stdout
    console = _console(file, None if file.isatty() else _WIDE)
    grid = settings_grid(table)
    console.print()
    console.print(f"{grid.caption}. * best. {legend(table)}\n")
    fits = _measured(console, rich_table(grid)).maximum <= console.width
    for shown in [grid] if fits else [settings_grid(table, [metric]) for metric in table.metrics]:
        _print(console, rich_table(shown))
    for best in best_grids(table):
        console.print(f"{best.caption}:\n")
        _print(console, rich_table(best))
    for line in table.verdict():
        console.print(line, soft_wrap=True)
    for verdict in verdicts(table):
        console.print(Text(str(verdict), style=_CLAIMS[verdict.holds]), soft_wrap=True)


def _console(file: IO[str], width: int | None) -> Console:
    return Console(file=file, width=width, highlight=False, markup=False, emoji=False)


def _print(console: Console, drawn: RichTable) -> None:
    """Print and leave a line empty; if need be wider than the console, so that no number is cut."""
    _console(console.file, max(console.width, _measured(console, drawn).minimum)).print(drawn, "")


def _measured(console: Console, drawn: RichTable) -> Measurement:
    """Least and natural width, whatever the console's."""
    return console.measure(drawn, options=console.options.update(width=_WIDE))


def rich_table(grid: Grid) -> RichTable:
    """A grid as a table of rich, its marks in colours."""
    drawn = RichTable(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for i, name in enumerate(grid.head):
        if i < grid.text_columns:
            drawn.add_column(Text(name), min_width=12, overflow="fold", header_style="bold", vertical="bottom")
        else:
            least = max(len(text) for text in (*name.split(), *(_cell(row[i]).plain for row in grid.rows)))
            drawn.add_column(
                Text(name.replace(" ", "\n")), justify="right", no_wrap=True, min_width=least, header_style="bold",
                vertical="bottom",
            )  # fmt: skip
    for row in grid.rows:
        drawn.add_row(*(_cell(field) for field in row))
    return drawn


def _cell(field: Field) -> Text:
    mark = {BEST: "*", TIED: "~"}.get(field.mark, "")
    return Text(field.text + mark, style=_STYLES.get(field.mark, ""))
