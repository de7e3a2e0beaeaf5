"""Tables: every setting once, ledger, verdict, files; and the report made of them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from edm2lite.config import (
    ClassifierConfig,
    DataConfig,
    GuidanceConfig,
    GuideConfig,
    ModelRef,
    RefConfig,
    ReportConfig,
    SamplerConfig,
    TableConfig,
    TableRow,
)
from edm2lite.errors import UserError
from edm2lite.evaluation import tables
from edm2lite.evaluation.metrics import compute_reference
from edm2lite.evaluation.plots import best_lines
from edm2lite.evaluation.report import write_report
from edm2lite.evaluation.results import Result, Table, compare, read_table
from edm2lite.evaluation.tables import compute_row, compute_table


@pytest.fixture(scope="module")
def cfg(tiny_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    compute_reference(RefConfig(data=DataConfig(name="digits"), out=str(folder / "ref.npz")))
    rows = (
        TableRow(name="main alone", main_ema=(0.05, 0.08)),
        TableRow(
            name="earlier",
            guide=ModelRef(path=str(tiny_run), nimg=160),
            main_ema=(0.08,),
            guide_ema=(0.1, 0.05),
            weights=(1.5, 2.0),
        ),
    )
    return TableConfig(
        title="Tiny", outdir=str(folder / "out"), ref=str(folder / "ref.npz"), main=ModelRef(path=str(tiny_run)), rows=rows,
        sampler=SamplerConfig(num_steps=3), num_images=12, blocks=3, batch_size=6, device="cpu",
    )  # fmt: skip


def test_a_table_from_models_to_report(cfg, tmp_path, capsys, monkeypatch):
    table = compute_table(cfg)
    assert [(r.row, r.main_ema, r.guide_ema, r.weight) for r in table.results] == [
        ("main alone", 0.05, None, 1.0), ("main alone", 0.08, None, 1.0),
        ("earlier", 0.08, 0.1, 1.5), ("earlier", 0.08, 0.1, 2.0), ("earlier", 0.08, 0.05, 1.5), ("earlier", 0.08, 0.05, 2.0),
    ]  # fmt: skip
    assert all(len(set(r.values)) == 3 for r in table.results), "blocks have seeds of their own"
    for guided in (False, True):
        again = table.confirmed[guided]
        assert again.setting == table.best(guided).setting and not set(again.values) & set(table.best(guided).values)
    printed = capsys.readouterr().out
    assert "fresh seeds" in printed and printed.count("| earlier") == 4 + 1
    assert read_table(cfg.outdir) == table

    monkeypatch.setattr(tables, "score_pair", lambda *a: pytest.fail("everything is in the ledger"))
    assert compute_table(cfg).results == table.results

    out = tmp_path / "report.html"
    write_report(ReportConfig(tables=(cfg.outdir,), out=str(out), title="A < B", seeds="0-3"))
    page = out.read_text()
    assert "A &lt; B" in page and page.count("<tr") == 7
    assert page.count("<img") == 4, "distance over w, images, distance over EMA, loss"
    sources = re.findall(r'(?:src|href)="([^"]{5})', page)
    assert set(sources) == {"data:"}, "self-contained"


def kept(outdir):
    return {path.name: json.loads(path.read_text()) for path in (Path(outdir) / "results").iterdir()}


def test_rows_computed_apart_meet_in_one_table(cfg, tmp_path, monkeypatch):
    apart = replace(cfg, outdir=str(tmp_path / "apart"))
    for row in (1, 0):
        compute_row(replace(apart, only_row=row))
    assert not (tmp_path / "apart" / "table.md").exists() and len(kept(apart.outdir)) == 6 * 3
    whole = compute_table(cfg)
    monkeypatch.setattr(tables, "score_pair", lambda *a: pytest.fail("everything was computed apart"))
    assert compute_table(replace(apart, confirm=False)).results == whole.results
    with pytest.raises(UserError, match="one of the 2 rows"):
        replace(cfg, only_row=2)


def test_a_changed_setting_is_computed_anew_and_old_ones_are_kept(cfg, monkeypatch):
    compute_table(cfg)
    before = kept(cfg.outdir)
    settings = next(iter(before.values()))["settings"]
    assert {"pair", "seeds", "batch_size", "sampler", "detector", "reference"} == set(settings)
    assert len(before) == 6 * 3 + 2 * 3
    compute_table(replace(cfg, sampler=SamplerConfig(num_steps=4), rows=cfg.rows[:1]))
    after = kept(cfg.outdir)
    assert len(after) == len(before) + 2 * 3 and before.items() <= after.items()


def test_a_single_file_can_be_a_main(cfg, tiny_run, tmp_path):
    file = ModelRef(path=str(tiny_run / "snapshots" / "320-ema0.1.safetensors"))
    guide = ModelRef(path=str(tiny_run / "snapshots" / "80-ema0.05.safetensors"))
    rows = (TableRow(name="alone"), TableRow(name="guided", guide=guide, weights=(2.0,)))
    table = compute_table(replace(cfg, main=file, rows=rows, outdir=str(tmp_path / "out"), confirm=False))
    assert [(r.main_ema, r.guide_ema) for r in table.results] == [(0.1, None), (0.1, 0.05)]
    write_report(ReportConfig(tables=(str(tmp_path / "out"),), out=str(tmp_path / "r.html"), seeds="0-1"))


def result(mean, sd=0.1, guide=None, weight=1.0):
    return Result(row="r", main_ema=0.05, guide_ema=guide, weight=weight, values=(mean - sd, mean, mean + sd))


@pytest.mark.parametrize(
    ("guided", "word"), [(1.5, "guidance wins"), (1.95, "no difference beyond the spread"), (2.5, "guidance loses")]
)
def test_verdict(guided, word):
    assert compare("here", result(2.0), result(guided, guide=0.1, weight=2.0)).endswith(word)


def test_best_and_mean_and_spread():
    table = Table([result(3.0), result(2.0), result(1.0, guide=0.1, weight=2.0)], {}, {}, "d", 10)
    assert table.best(False).mean == pytest.approx(2) and table.best(True).mean == pytest.approx(1)
    assert table.best(False).spread == pytest.approx(0.1)
    assert Table([], {}, {}, "d", 1).best(True) is None


def test_rows_that_make_no_sense_are_refused(tmp_path):
    with pytest.raises(UserError, match="1 without a guide"):
        TableRow(name="x", weights=(2.0,))
    with pytest.raises(UserError, match="other than 1, where there is no guidance"):
        TableRow(name="x", guide=ModelRef(path="g"), weights=(1.0, 2.0))
    with pytest.raises(UserError, match="different from each other"):
        TableConfig(rows=(TableRow(name="a"), TableRow(name="a")))
    with pytest.raises(UserError, match="given as main_ema"):
        TableConfig(main=ModelRef(path="x", ema=0.1))
    with pytest.raises(UserError, match="no finished table"):
        read_table(tmp_path)
    with pytest.raises(UserError, match="no tables were named"):
        write_report(ReportConfig())


def test_rows_whose_guidance_would_be_overwritten_or_go_unseen_are_refused():
    with pytest.raises(UserError, match="row 'x' has guidance but no guide, and vary is weight"):
        TableRow(name="x", guidance=GuidanceConfig(truncation=1.1))
    with pytest.raises(UserError, match=r"guidance.weight of row 'x' is 3, and its weights are \[2.0\]"):
        TableRow(name="x", guide=ModelRef(path="g"), guidance=GuidanceConfig(weight=3.0), weights=(2.0,))
    classifier = ClassifierConfig(path="c", scale=0.5)
    with pytest.raises(UserError, match=r"guidance.classifier.scale of row 'x' is 0.5"):
        TableRow(name="x", vary="classifier", guidance=GuidanceConfig(classifier=classifier), weights=(1.0,))


def test_a_report_on_a_blend_and_on_several_mains(cfg, tiny_run, tmp_path):
    guides = (
        GuideConfig(path=str(tiny_run), nimg=80, weight=1.3),
        GuideConfig(path=str(tiny_run), nimg=160, weight=1.7),
    )
    rows = (
        TableRow(name="alone"),
        TableRow(name="worse alone", main=ModelRef(dropout=0.5)),
        TableRow(name="blend", guidance=GuidanceConfig(guides=guides), weights=(1.5,)),
    )
    table = compute_table(replace(cfg, rows=rows, outdir=str(tmp_path / "out"), confirm=False))
    write_report(ReportConfig(tables=(str(tmp_path / "out"),), out=str(tmp_path / "r.html"), seeds="0-1"))
    assert (tmp_path / "r.html").is_file()
    ((start, _),) = best_lines(table)
    assert start.values == table.results[0].values != table.results[1].values, "the line begins at its own main alone"
