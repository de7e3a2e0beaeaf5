"""Tables as Markdown, aligned so that they read well in a terminal, too. Imports no torch."""

import re
from collections.abc import Sequence

from edm2lite.evaluation.claims import Verdict
from edm2lite.evaluation.tables.claims import verdicts
from edm2lite.evaluation.tables.layout import Field, Grid, best_grids, legend, settings_grid
from edm2lite.evaluation.tables.marks import BEST, TIED
from edm2lite.evaluation.tables.results import Table


def markdown(table: Table) -> str:
    """All settings, then each row at its best, then the verdict, then those on the claims."""
    grid = settings_grid(table)
    lines = [f"{escaped(grid.caption)}. Bold: best. {legend(table)}", "", *grid_lines(grid), ""]
    for best in best_grids(table):
        lines += [f"{best.caption}:", "", *grid_lines(best), ""]
    lines += [f"- {escaped(line)}" for line in table.verdict()]
    return "\n".join([*lines, *claim_lines(verdicts(table))]).rstrip() + "\n"


def claim_lines(found: Sequence[Verdict]) -> list[str]:
    """Lines of Markdown: a list of verdicts on claims, with the comparisons below each; [] without claims."""
    lines = ["", "Claims (95 %, paired on common seeds):", ""] if found else []
    for verdict in found:
        lines.append(f"- **{verdict.word}**: {escaped(verdict.says)}")
        lines += [f"  - {escaped(reason)}" for reason in verdict.reasons]
    return lines


def grid_lines(grid: Grid) -> list[str]:
    """Lines of Markdown: a grid as a table."""
    rows = [grid.head, *([_cell(field) for field in row] for row in grid.rows)]
    widths = [max(3, *(len(row[i]) for row in rows)) for i in range(len(grid.head))]
    left = [i < grid.text_columns for i in range(len(grid.head))]
    rule = ["-" * width if is_text else "-" * (width - 1) + ":" for width, is_text in zip(widths, left, strict=True)]
    texts = [
        [c.ljust(w) if is_text else c.rjust(w) for c, w, is_text in zip(row, widths, left, strict=True)] for row in rows
    ]
    return ["| " + " | ".join(row) + " |" for row in (texts[0], rule, *texts[1:])]


def _cell(field: Field) -> str:
    text = escaped(field.text)
    return f"**{text}**" if field.mark == BEST else f"{text} ~" if field.mark == TIED else text


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, in tables, too."""
    return re.sub(r"[\\|<*`]", r"\\\g<0>", text)
