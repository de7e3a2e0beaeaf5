r"""Tables as LaTeX with booktabs; best cells are bold, those tied with them underlined. Imports no torch."""

from edm2lite.evaluation.tables.layout import Field, Grid, best_grids, legend, settings_grid
from edm2lite.evaluation.tables.marks import BEST, TIED
from edm2lite.evaluation.tables.results import Table

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}",
}  # fmt: skip


def latex(table: Table) -> str:
    """A `table` environment of all settings, and one of each row at its best; take what you need."""
    note = legend(table).replace("Cells marked ~", "Underlined cells")
    settings = settings_grid(table)
    parts = [r"% \usepackage{booktabs}", _environment(settings, f"{settings.caption}. Bold: best. {note}")]
    parts += [_environment(grid, grid.caption) for grid in best_grids(table)]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def _environment(grid: Grid, caption: str) -> str:
    columns = "l" * grid.text_columns + "r" * (len(grid.head) - grid.text_columns)
    lines = [
        r"\begin{table}", r"\centering\small", rf"\begin{{tabular}}{{{columns}}}", r"\toprule",
        _line([escape(name) for name in grid.head]), r"\midrule",
        *(_line([_cell(field) for field in row]) for row in grid.rows),
        r"\bottomrule", r"\end{tabular}", rf"\caption{{{_numbers(escape(caption))}}}", r"\end{table}",
    ]  # fmt: skip
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    text = " & ".join(cells) + r" \\"
    return "{}" + text if text.startswith(("[", "*")) else text  # which would belong to the command of the line before


def _cell(field: Field) -> str:
    text = escape(field.text)
    if field.value is not None:
        text = _numbers(text.replace("-", "$-$", 1) if text.startswith("-") else text)
    return rf"\textbf{{{text}}}" if field.mark == BEST else rf"\underline{{{text}}}" if field.mark == TIED else text


def _numbers(text: str) -> str:
    return text.replace("+-", r"$\pm$")
