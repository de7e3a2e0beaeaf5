"""What the report takes from a sweep's folder."""

import base64
import csv
import json
import re
from dataclasses import asdict

import pytest
import yaml
from jsonargparse import ArgumentParser

from edm2lite.config import ModelRef, ReportConfig, plain
from edm2lite.config.sweeps import SweepConfig
from edm2lite.evaluation.report import searches
from edm2lite.evaluation.report.page import write_report
from edm2lite.evaluation.tables.results import save_table
from tests.evaluation.report.conftest import EMAS, METRICS, make_table

TRIALS = [
    {"row": "sweep", "images": 10, "main_ema": 0.05, "guide_nimg": "160", "weight": 1.5, "metric": "fid", "score": 4.25,
     "state": "complete"},
    {"row": "sweep", "images": 10, "main_ema": 0.1, "guide_nimg": "160", "weight": 2.0, "metric": "fid", "score": 3.5,
     "state": "complete"},
    {"row": "sweep", "images": 10, "main_ema": 0.1, "guide_nimg": "1Ki", "weight": 3.0, "metric": "fid", "score": "",
     "state": "fail"},
    {"row": "sweep", "images": 50, "main_ema": 0.1, "guide_nimg": "160", "weight": 2.0, "metric": "fid", "score": 3.0,
     "state": "complete"},
]  # fmt: skip


@pytest.fixture
def sweep(runs, tmp_path):
    main, guide = map(str, runs)
    cfg = SweepConfig(
        title="S", outdir=str(tmp_path / "sweep"), ref="r.npz", metrics=METRICS, main=ModelRef(path=main),
        guide=ModelRef(path=guide), main_ema=EMAS, guide_ema=EMAS, weights=(1.5, 2.0, 3.0), search="random", trials=2,
        rungs=(10, 50), published={"fid": 1.34},
    )  # fmt: skip
    table = make_table(main, guide)
    made = cfg.table()
    table = type(table)(table.results, {}, plain(asdict(made)), table.metrics, table.protocol, table.reference)
    save_table(tmp_path / "sweep", table)
    free = (
        "title",
        "outdir",
        "trials",
        "published",
        "ref",
        "device",
        "devices",
        "models",
        "features",
        "detector_files",
    )
    kept = {name: value for name, value in plain(asdict(cfg)).items() if name not in (*free, "keep_features")}
    (tmp_path / "sweep" / "sweep.json").write_text(json.dumps({**kept, "protocol": {}, "weights": {}}))
    with open(tmp_path / "sweep" / "sweep.csv", "w", newline="") as f:
        writer = csv.DictWriter(f, list(TRIALS[0]))
        writer.writeheader()
        writer.writerows(TRIALS)
    (tmp_path / "sweep" / "sweep.md").write_text("# S\n\n- the winner: FID < 3\n")
    (tmp_path / "sweep" / "heatmap-ema.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 300 150"/>'
    )
    return cfg, table


def test_a_report_on_a_sweep(sweep, tmp_path):
    cfg, _ = sweep
    out = tmp_path / "r.html"
    write_report(ReportConfig(tables=(cfg.outdir,), out=str(out), seeds=None))
    page = out.read_text()
    assert "<li>the winner: FID &lt; 3</li>" in page
    assert re.search(r'<img src="data:image/svg\+xml[^>]* width="400" height="200"', page), "points are 4/3 pixels"
    assert 'data-value="4.25"' in page and 'data-value="1024.0"' in page and "(4 scores)" in page
    assert "Over guidance weight" not in page, "the finalists alone make no curve"
    found = re.search(r'href="data:application/yaml;base64,([^"]+)" download="sweep.yaml"', page)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(SweepConfig, as_group=False)
    settings = parser.parse_object(yaml.safe_load(base64.b64decode(found[1])))
    assert SweepConfig(**vars(parser.instantiate(settings))) == cfg


def test_a_long_list_of_trials_is_cut_and_says_so(sweep, monkeypatch):
    monkeypatch.setattr(searches, "MOST_TRIALS", 3)
    listed = searches.trials(sweep[0].outdir)
    assert listed.count("<tr>") == 1 + 3 and "the first 3 of 4; the others are in sweep.csv" in listed
