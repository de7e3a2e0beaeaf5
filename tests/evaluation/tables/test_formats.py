"""One table in six formats: the same numbers, marked alike, whatever the names hold."""

import csv
import html.parser
import io
import re
from dataclasses import replace

import pytest

from edm2lite.evaluation.tables.formats import html_table, latex, markdown, print_table, write_table
from edm2lite.evaluation.tables.hypertext import html_fragment
from edm2lite.evaluation.tables.layout import best_grid, settings_grid
from edm2lite.evaluation.tables.long import csv_rows, long_rows
from edm2lite.evaluation.tables.marks import BEST, TIED
from edm2lite.evaluation.tables.results import Table
from tests.evaluation.tables.conftest import result, scores, table


def column(grid, name, nth=0):
    return [row[[i for i, head in enumerate(grid.head) if head == name][nth]] for row in grid.rows]


def test_the_grid_of_all_settings(paper_like):
    grid = settings_grid(paper_like)
    assert grid.head == ["row", "EMA main", "EMA guide", "w", "FID", "min", "published", "difference", "IS"]
    assert [f.text for f in column(grid, "FID")] == ["3.100 +- 0.100", "2.100 +- 0.100", "2.117 +- 0.202"]
    assert [f.mark for f in column(grid, "FID")] == ["", BEST, TIED]
    assert [f.mark for f in column(grid, "IS")] == [TIED, BEST, ""], "of the Inception Score the highest is best"
    assert [f.text for f in column(grid, "min")] == ["3.000", "2.000", "1.900"], "of the Frechet distance alone"
    assert [f.text for f in column(grid, "published")] == ["2.9", "1", ""], "beside the best setting of a row"
    assert [f.text for f in column(grid, "difference")] == ["+0.100", "+1.000", ""], "from the minimum of the blocks"
    assert [f.value for f in column(grid, "EMA guide")] == [None, 0.1, 0.1]
    assert column(grid, "FID")[0].note == "blocks 3.000 3.200 3.100; standard error 0.029; N = 10"
    assert (
        "FID, IS in a-net; reference: 99 images of digits; 10 images a block, 3 blocks of seeds: mean +-"
        in grid.caption
    )


def test_of_dinov2_the_mean_is_compared():
    r = result(metrics={"fd_dinov2": scores(40.0, 42.0, 44.0)}, published={"fd_dinov2": 41.0})
    grid = settings_grid(table(r))
    assert [f.text for f in column(grid, "difference")] == ["+1.000"] and [f.text for f in column(grid, "min")] == [
        "40.000"
    ]


def test_one_block_shows_its_standard_error():
    grid = settings_grid(table(result(metrics={"fd": scores(2.0, se=0.25)})))
    assert [f.text for f in column(grid, "FD")] == ["2.000 +- 0.250"] and "min" not in grid.head
    assert "1 block of seeds: value +- jackknife standard error" in grid.caption
    assert [f.text for f in column(settings_grid(table(result(2.0))), "FD")] == ["2.000"]


@pytest.mark.parametrize(
    ("kinds", "head", "texts"),
    [
        (("weight", "weight"), "w", ["1", "2", "2"]),
        (("classifier", "classifier"), "classifier scale", ["1", "2", "2"]),
        (("truncation", "truncation"), "truncation", ["1", "2", "2"]),
        (("weight", "gradient"), "w or other", ["1", "w = 2", "gradient 2"]),
    ],
)
def test_what_is_varied_heads_its_column(kinds, head, texts):
    guided = [result(1.0, 2.0, row=str(i), weight=2.0, vary=vary) for i, vary in enumerate(kinds)]
    grid = settings_grid(table(result(1.0, 2.0), *guided))
    assert grid.head[3] == head and [f.text for f in column(grid, head)] == texts


def test_training_lengths_of_guides_are_shown_where_a_row_tries_several():
    two = [replace(result(1.0, 2.0, weight=2.0), guide_nimg=n) for n in (2**20, 2**21)]
    assert [f.text for f in column(settings_grid(table(*two)), "guide at")] == ["1Mi", "2Mi"]
    assert "guide at" not in settings_grid(table(two[0])).head


def test_each_row_at_its_best_beside_the_best_alone(paper_like):
    grid = best_grid(paper_like, "fid")
    assert grid.head[-2:] == ["gain over best alone", "sd of gain"]
    assert [row[1].text for row in grid.rows] == ["EMA 0.05, guide EMA 0.1, w = 1.5", "EMA 0.05"]
    assert [f.text for f in column(grid, "gain over best alone")] == ["+1.000", "+0.000"]
    unguided = best_grid(table(result(1.0, 2.0, weight=2.0)), "fd")
    assert [f.text for f in unguided.rows[0][-2:]] == ["-", "-"]


def test_markdown_is_aligned_and_says_who_won(paper_like):
    text = markdown(paper_like)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    blocks = [lines[:5], lines[5:]]
    for block in blocks:
        assert len({len(line) for line in block}) == 1, "aligned"
        cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in block]
        assert len({len(row) for row in cells}) == 1, "a name with a | in it does not make a column"
    assert "**2.100 +- 0.100**" in text and "2.117 +- 0.202 ~" in text and text.count("**") == 2 * 3
    assert "- best guided:" in text and "gain 1.000" in text and "FID with the minimum of its blocks" in text


def test_csv_holds_everything_unrounded_a_line_a_setting_and_metric(paper_like):
    file = io.StringIO()
    csv.writer(file).writerows(csv_rows(replace(paper_like, confirmed={True: paper_like.results[1]})))
    rows = list(csv.DictReader(io.StringIO(file.getvalue())))
    assert [(r["metric"], r["seeds"]) for r in rows] == [
        *[("fid", "table")] * 3, ("fid", "fresh"), *[("is", "table")] * 3, ("is", "fresh"),
    ]  # fmt: skip
    strong = rows[2]
    assert [float(v) for v in strong["values"].split()] == [1.9, 2.3, 2.15] and float(strong["min"]) == 1.9
    assert float(strong["mean"]) == paper_like.results[2].mean("fid") and float(strong["sd"]) == paper_like.results[
        2
    ].spread("fid")
    assert (strong["mark"], strong["published"], strong["num_images"], strong["blocks"]) == ("tied", "", "10", "3")
    weak = rows[1]
    assert (weak["row"], weak["compared"], weak["difference"]) == (paper_like.results[1].row, "2.0", "1.0")
    assert (
        float(weak["se"]) == pytest.approx(0.05 / 3**0.5) and weak["extrapolated"] == "" and weak["varied"] == "weight"
    )
    assert long_rows(table()) == [] and list(csv_rows(table())) == []


def check_latex(text):
    """What can be known without LaTeX: no character is special by accident, braces and environments close."""
    body = re.sub(r"(?m)^%.*$", "", text)
    bare = re.sub(r"\\([&%$#_{}])", "", body).replace(r"\\", "")
    commands = set(re.findall(r"\\([A-Za-z]+)", bare))
    assert commands <= {
        "begin", "end", "centering", "small", "toprule", "midrule", "bottomrule", "caption", "textbf", "underline", "pm",
        "to", "textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar",
    }  # fmt: skip
    assert not re.search(r"[%#_~^<>|]", bare), "a special character stands alone"
    depth = 0
    for character in re.sub(r"\\[{}]", "", body):
        depth += (character == "{") - (character == "}")
        assert depth >= 0
    assert depth == 0 and re.sub(r"\\\$", "", body).count("$") % 2 == 0
    assert re.findall(r"\\begin{(\w+)}", bare) == ["table", "tabular"] * body.count(r"\begin{table}")
    assert re.findall(r"\\end{(\w+)}", bare) == ["tabular", "table"] * body.count(r"\begin{table}")
    for part in re.findall(r"\\begin{tabular}{([lr]+)}(.*?)\\end{tabular}", body, re.DOTALL):
        lines = [line for line in part[1].splitlines() if line.endswith(r"\\")]
        assert lines and all(len(re.split(r"(?<!\\)&", line)) == len(part[0]) for line in lines)


def test_latex_is_whole_and_escaped(paper_like):
    text = latex(paper_like)
    check_latex(text)
    assert (
        r"50 \% \textless{}b\textgreater{}\_\#\textbar{}\$ \& \textbackslash{}x\{y\}\textasciitilde{}\textasciicircum{}"
        in text
    )
    assert r"\textbf{2.100 $\pm$ 0.100}" in text and r"\underline{2.117 $\pm$ 0.202}" in text and "+-" not in text
    better = latex(table(result(metrics={"fid": scores(1.0, 1.1)}, published={"fid": 2.0})))
    assert "& $-$1.000 &" in better.replace(r" \\", " &"), "a minus, not a hyphen"
    for broken in (text.replace(r"\%", "%", 1), text.replace(r"\_", "_"), text.replace(r"\bottomrule", "}")):
        with pytest.raises(AssertionError):
            check_latex(broken)


def test_no_name_is_taken_for_a_command():
    """After a line's end LaTeX takes [...] and * for its own; Markdown takes < for a tag and * for emphasis."""
    odd = table(*(result(2.0, row=name) for name in ("a", "[b] c", "*d* `e`", "<i>")), config={"title": "<T>"})
    lines = latex(odd).splitlines()
    assert not [line for line in lines if line.startswith(("[", "*"))] and any(
        line.startswith("{}[b] c &") for line in lines
    )
    text = markdown(odd)
    assert r"| \*d\* \`e\` " in text and r"| \<i>" in text and text.startswith(r"\<T>: ")


class Page(html.parser.HTMLParser):
    """Cells of the tables of a page by row, and whether every tag closes."""

    def __init__(self, text):
        super().__init__()
        self.open, self.rows, self.attributes = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
            self.attributes.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.attributes[-1].append(dict(attrs))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def test_html_is_escaped_and_sortable(paper_like):
    text = html_table(paper_like)
    page = Page(text)
    assert text.startswith("<table>") and "<thead><tr>" in text and "<tbody>" in text and len(page.rows) == 4
    assert page.rows[2][0] == paper_like.results[1].row and page.rows[2][4] == "2.100 ± 0.100"
    fid = [row[4] for row in page.attributes[1:]]
    assert [float(cell["data-value"]) for cell in fid] == [r.mean("fid") for r in paper_like.results]
    assert [cell["class"] for cell in fid] == ["number", "number best", "number tied"] and "N = 10" in fid[0]["title"]
    whole = html_fragment(paper_like)
    assert Page(whole).rows[:4] == page.rows and "<b>" not in whole and "best guided" in whole


class Terminal(io.StringIO):
    def isatty(self):
        return True


def printed(shown: Table, file) -> str:
    print_table(shown, file)
    return file.getvalue()


def test_a_terminal_gets_colours_and_a_pipe_none(paper_like, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = printed(paper_like, Terminal())
    assert "\x1b[1;32m" in coloured and "\x1b[36m" in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[\d;]*3[26]m", printed(paper_like, Terminal()))
    plain = printed(paper_like, io.StringIO())
    assert "\x1b" not in plain and "2.100 +- 0.100*" in plain and "2.117 +- 0.202~" in plain
    assert paper_like.results[1].row in plain, "markup in a name is text"
    assert max(map(len, plain.splitlines())) < 1000 and "gain 1.000" in plain


@pytest.mark.parametrize("columns", ["30", "80", "120", "300"])
def test_a_narrow_terminal_cuts_no_number_and_no_name(paper_like, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("NO_COLOR", "1")
    text = re.sub(r"\x1b\[[\d;]*m", "", printed(paper_like, Terminal()))
    for field in [field for row in settings_grid(paper_like).rows for field in row[1:]]:
        assert re.search(rf"(?m)(^| ){re.escape(field.text)}[*~]?( |$)", text), field
    assert all(part in re.sub(r"\s", "", text) for part in ("main", "50%", "<b>_#|$"))
    assert (text.count("published") > 1) and max(map(len, text.splitlines())) <= max(int(columns), 130)


def test_all_files_are_written(paper_like, tmp_path, capsys):
    write_table(tmp_path, paper_like)
    assert {p.name for p in tmp_path.iterdir()} == {f"table.{s}" for s in ("md", "csv", "tex", "html", "json")}
    assert (tmp_path / "table.csv").read_text().count("\n") == 1 + 6 and "2.100" in capsys.readouterr().out
