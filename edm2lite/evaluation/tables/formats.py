"""The files of a table: Markdown, CSV, LaTeX, HTML, JSON; and what is printed."""

import csv
import io
from dataclasses import asdict
from pathlib import Path

from edm2lite.evaluation.tables.claims import verdicts
from edm2lite.evaluation.tables.curves import write_curves
from edm2lite.evaluation.tables.hypertext import html_best_tables, html_caption, html_fragment, html_table
from edm2lite.evaluation.tables.latex import latex
from edm2lite.evaluation.tables.long import csv_rows, long_rows
from edm2lite.evaluation.tables.markdown import markdown
from edm2lite.evaluation.tables.results import Table, save_table
from edm2lite.evaluation.tables.terminal import print_table
from edm2lite.files import write_text

__all__ = ["html_best_tables", "html_caption", "html_table", "latex", "markdown", "print_table", "write_table"]


def write_table(outdir: Path, table: Table) -> None:
    """Write table.json, .md, .csv, .tex and .html, and curves.svg and .png where there are any; print the table."""
    save_table(outdir, table, long_rows(table), [asdict(verdict) for verdict in verdicts(table)])
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows(csv_rows(table))
    texts = {"md": markdown(table), "csv": lines.getvalue(), "tex": latex(table), "html": html_fragment(table)}
    for suffix, text in texts.items():
        write_text(outdir / f"table.{suffix}", text)
    write_curves(outdir, table)
    print_table(table)
