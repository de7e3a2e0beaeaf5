"""Claims of a table: refused where they are about nothing, judged from its results, shown in every format."""

import io
import json
from dataclasses import asdict, replace

import pytest

from edm2lite.config import TableConfig
from edm2lite.config.claims import ClaimConfig, ComparisonConfig
from edm2lite.config.units import plain
from edm2lite.errors import UserError
from edm2lite.evaluation.report.section import Section
from edm2lite.evaluation.tables.claims import verdicts
from edm2lite.evaluation.tables.compute import compute_table
from edm2lite.evaluation.tables.formats import markdown, print_table, write_table
from edm2lite.evaluation.tables.hypertext import html_fragment
from edm2lite.evaluation.tables.results import read_table
from tests.evaluation.tables.conftest import result, scores, table
from tests.evaluation.tables.test_formats import Page


def claim(says="a < b & c", **check):
    checks = (ComparisonConfig(**{"row": "earlier", "relation": "lower", "than": "main alone"} | check),)
    return ClaimConfig(says=says, checks=checks)


@pytest.fixture
def judged():
    """Main alone 3 and guided 2 and 2.5, by FID; of the Inception score the guided one has less."""
    alone = result(row="main alone", metrics={"fid": scores(3.0, 3.1, 3.2), "is": scores(9.0, 9.1, 9.2)})
    weak, strong = (
        result(row="earlier", guide=0.1, weight=w, metrics={"fid": scores(v, v + 0.1, v + 0.2), "is": scores(8, 8, 8)})
        for w, v in ((1.5, 2.0), (2.0, 2.5))
    )
    claims = (
        claim(),
        claim("b", at=2.0, margin=0.7),
        claim("c", relation="higher", metric="is"),
        claim("d", margin=1.0),
    )
    return table(alone, weak, strong, config={"title": "T", "claims": plain([asdict(c) for c in claims])})


def test_claims_are_judged_from_the_results_of_their_rows(judged):
    found = verdicts(judged)
    assert [v.word for v in found] == ["TRUE", "FALSE", "FALSE", "FALSE"]
    assert found[0].reasons[0].startswith("fid: earlier (w = 1.5) 2.1, main alone (w = 1) 3.1; difference -1,")
    assert found[2].reasons[0].startswith("is: earlier (w = 1.5) 8, main alone (w = 1) 9.1")
    assert verdicts(replace(judged, config={"title": "an older table"})) == []


def test_where_higher_is_better_the_highest_is_best():
    alone = result(row="main alone", metrics={"is": scores(8.0, 8.1)})
    guided = [result(row="earlier", weight=w, metrics={"is": scores(v, v)}) for w, v in ((1.5, 9.0), (2.0, 7.0))]
    config = {"title": "T", "claims": plain([asdict(claim(relation="higher"))])}
    assert "earlier (w = 1.5) 9" in verdicts(table(alone, *guided, config=config))[0].reasons[0]


def test_every_format_shows_them(judged, tmp_path, capsys):
    write_table(tmp_path, judged)
    shown = capsys.readouterr().out
    text, page, saved = ((tmp_path / f"table.{form}").read_text() for form in ("md", "html", "json"))
    assert "- **TRUE**: a \\< b & c\n  - fid: earlier (w = 1.5) 2.1" in text and "- **FALSE**: b" in text
    assert "<strong>TRUE</strong>: a &lt; b &amp; c" in page and "<li>fid: earlier (w = 1.5) 2.1" in page
    assert Page(page) and "TRUE: a < b & c\n  fid: earlier (w = 1.5) 2.1" in shown
    assert [c["holds"] for c in json.loads(saved)["claims"]] == [True, False, False, False]
    assert read_table(tmp_path) == judged
    without = replace(judged, config={"title": "T"})
    assert not any("claims" in text.lower() for text in (markdown(without), html_fragment(without)))


def test_a_terminal_gets_them_in_colours(judged, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    file = io.StringIO()
    file.isatty = lambda: True
    print_table(judged, file)
    assert "\x1b[32mTRUE" in file.getvalue() and "\x1b[31mFALSE" in file.getvalue()


def test_tables_of_earlier_versions_are_read(judged, tmp_path):
    write_table(tmp_path, judged)
    data = json.loads((tmp_path / "table.json").read_text())
    del data["claims"]
    (tmp_path / "table.json").write_text(json.dumps(data))
    assert read_table(tmp_path) == judged


def test_other_claims_compute_nothing_anew(cfg, measured):
    before = compute_table(cfg)
    first = list(measured)
    after = compute_table(replace(cfg, claims=(claim(),)))
    assert measured == first and after.results == before.results and len(verdicts(after)) == 1
    assert TableConfig.from_plain(after.config).claims == (claim(),)
    parts = dict(Section(after, cfg.outdir, (), "cpu", 1)._parts)
    assert "</strong>: a &lt; b &amp; c" in parts["Claims"], "in the report, too"


@pytest.mark.parametrize(
    ("check", "match"),
    [
        ({"row": "later"}, "unknown row of claim 'a < b & c' 'later'; choose one of: 'main alone', 'earlier'"),
        ({"than": "main"}, "unknown row of claim .* 'main';"),
        ({"at": 3.0}, "unknown weight of claim .* for row 'earlier' '3.0'; choose one of: 1.5, 2.0"),
        ({"than_at": 2.0}, "for row 'main alone' '2.0'; choose one of: 1.0"),
        ({"metric": "fdd"}, "unknown metric 'fdd'"),
        ({"metric": "kd"}, "unknown metric of claim .* 'kd'; choose one of: fd, weight"),
    ],
)
def test_claims_about_nothing_are_refused(cfg, check, match):
    with pytest.raises(UserError, match=match):
        replace(cfg, metrics=("fd",), claims=(claim(**check),))


def test_a_metric_that_the_reference_does_not_give_is_refused_before_anything_is_measured(cfg, measured):
    with pytest.raises(UserError, match=r"unknown metric of claim .* 'kd'; choose one of: fd, weight"):
        compute_table(replace(cfg, claims=(claim(metric="kd"),)))
    assert measured == []


def test_the_weight_itself_needs_no_metric(cfg):
    replace(cfg, metrics=("fd",), claims=(claim(metric="weight"),))
