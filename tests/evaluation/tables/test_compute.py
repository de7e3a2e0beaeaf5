"""Every setting once, by any number of jobs; what is kept is not computed again."""

import json
import multiprocessing
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from edm2lite.config import DataConfig, ModelRef, RefConfig, SamplerConfig, TableRow
from edm2lite.config.cells import cells
from edm2lite.errors import UserError
from edm2lite.evaluation.measure import compute_reference
from edm2lite.evaluation.tables import scorer
from edm2lite.evaluation.tables.compute import compute_row, compute_table
from edm2lite.evaluation.tables.results import read_table
from edm2lite.evaluation.tables.scorer import Scorer


def kept(outdir):
    return {path.name: json.loads(path.read_text()) for path in (Path(outdir) / "results").iterdir()}


def test_a_table_is_made_once_confirmed_and_written(cfg, measured, capsys):
    table = compute_table(cfg)
    assert [(r.row, r.main_ema, r.guide_ema, r.weight) for r in table.results] == [
        ("main alone", 0.05, None, 1.0), ("main alone", 0.08, None, 1.0),
        ("earlier", 0.08, 0.1, 1.5), ("earlier", 0.08, 0.1, 2.0), ("earlier", 0.08, 0.05, 1.5), ("earlier", 0.08, 0.05, 2.0),
    ]  # fmt: skip
    assert all(r.guide_nimg == (160 if r.guided else None) for r in table.results)
    seeds = [keys for keys, _ in measured]
    assert len(seeds) == (6 + 2) * 3 and set(seeds) == {tuple(range(i, i + 12)) for i in range(0, 72, 12)}
    assert seeds.count(tuple(range(12))) == 6 and seeds.count(tuple(range(36, 48))) == 2, "fresh seeds follow"
    assert len({v for r in table.results for v in r.values("fd")}) == 6 * 3, "every setting and block has its own value"
    for guided in (False, True):
        again = table.confirmed[guided]
        assert again.setting == table.best(guided).setting and again.first_seed == 36
    printed = capsys.readouterr().out
    assert "fresh seeds" in printed and printed.count("earlier") >= 4 + 1
    assert {p.name for p in Path(cfg.outdir).iterdir()} == {
        "results",
        *(f"table.{s}" for s in ("md", "csv", "tex", "html", "json")),
        "curves.svg",
        "curves.png",
    }
    assert read_table(cfg.outdir) == table
    measured.clear()
    assert compute_table(cfg) == table and not measured, "everything is in the ledger"


def test_rows_computed_apart_meet_in_one_table(cfg, measured, tmp_path):
    whole = compute_table(replace(cfg, confirm=False))
    apart = replace(cfg, outdir=str(tmp_path / "apart"), confirm=False)
    for row in (1, 0):
        compute_row(replace(apart, only_row=row))
    assert not (tmp_path / "apart" / "table.md").exists() and len(kept(apart.outdir)) == 6 * 3
    measured.clear()
    assert compute_table(apart).results == whole.results and not measured


def test_a_row_job_that_failed_is_made_up_for(cfg, measured, tmp_path):
    compute_row(replace(cfg, only_row=1))
    next((Path(cfg.outdir) / "results").iterdir()).unlink()
    measured.clear()
    table = compute_table(replace(cfg, confirm=False))
    assert len(table.results) == 6 and len(measured) == 2 * 3 + 1


def test_processes_share_the_blocks_and_the_last_writes_the_table(cfg, measured, capsys):
    whole = compute_table(replace(cfg, outdir=f"{cfg.outdir}-whole", confirm=False))
    counts = []
    for shard in ("1/4", "0/4", "3/4", "2/4"):
        measured.clear()
        table = compute_table(replace(cfg, shard=shard, confirm=False))
        counts.append(len(measured))
        lacking = 18 - sum(counts)
        assert (table is None) == bool(lacking) == (not (Path(cfg.outdir) / "table.md").exists())
        if lacking:
            assert f"shard {shard} is done; other shards lack {lacking} blocks" in capsys.readouterr().out
    assert sorted(counts) == [4, 4, 5, 5] and table.results == whole.results
    measured.clear()
    assert compute_table(replace(cfg, shard="1/4", confirm=False)).results == whole.results and not measured


def test_processes_share_the_fresh_seeds_of_a_table_interrupted_there(cfg, measured):
    """All blocks are there, so that every process comes to the confirmation at once; the stub's are slow, to meet in it."""
    cfg = replace(cfg, keep_features=False)
    compute_table(replace(cfg, confirm=False))
    forked = multiprocessing.get_context("fork")
    begun, done = forked.Barrier(3), forked.SimpleQueue()

    def process(shard):
        measured.clear()
        measure = scorer.Meter.measure
        scorer.Meter.measure = lambda *args, **kwargs: time.sleep(0.2) or measure(*args, **kwargs)
        begun.wait()
        compute_table(replace(cfg, shard=shard))
        done.put([(keys[0], shard) for keys, _ in measured])

    jobs = [forked.Process(target=process, args=(f"{i}/3",)) for i in range(3)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0, 0, 0]
    counts = [len(done.get()) for _ in jobs]
    assert sum(counts) == 2 * 3 and min(counts) >= 1, "each block of fresh seeds once, and all had a part in it"
    assert set(read_table(cfg.outdir).confirmed) == {False, True} and not (Path(cfg.outdir) / ".locks").exists()


def test_torchrun_tells_which_share(cfg, measured, monkeypatch):
    for rank in (0, 1):
        monkeypatch.setattr(os, "environ", os.environ | {"RANK": str(rank), "WORLD_SIZE": "2"})
        assert (compute_table(replace(cfg, confirm=False)) is None) == (rank == 0) and len(measured) == 9 * (rank + 1)


def test_everything_that_could_change_a_value_is_in_its_key(cfg, tiny_run, measured):
    def keys(changed):
        scorer, setting = Scorer(changed), next(cells(changed))
        (key,) = scorer._keys(scorer._facts_of(setting), changed.first_seed, changed.num_images).values()
        return json.dumps(key, sort_keys=True)

    one = replace(cfg, rows=(TableRow(name="x", main_ema=(0.05,)),))
    guided = TableRow(name="x", main_ema=(0.05,), guide=ModelRef(path=str(tiny_run), nimg=160), weights=(2.0,))
    changes = {
        "main": {"main": ModelRef(path=str(tiny_run), nimg=160)},
        "degraded": {"main": ModelRef(path=str(tiny_run), dropout=0.1)},
        "ema": {"rows": (TableRow(name="x", main_ema=(0.06,)),)},
        "guide": {"rows": (guided,)},
        "other guide": {"rows": (replace(guided, guide=ModelRef(path=str(tiny_run), nimg=80)),)},
        "weight": {"rows": (replace(guided, weights=(2.5,)),)},
        "steps": {"sampler": SamplerConfig(num_steps=4)},
        "batch": {"batch_size": 4},
        "labels": {"labels": "balanced"},
        "precision": {"precision": "bf16"},
        "seeds": {"first_seed": 12},
        "images": {"num_images": 13},
        "metric": {"metrics": ("kd",)},
        "reference": {"ref": "other.npz"},
    }
    found = {name: keys(replace(one, **change)) for name, change in changes.items()} | {"none": keys(one)}
    assert len(set(found.values())) == len(changes) + 1
    same = {
        "title": "x",
        "outdir": f"{cfg.outdir}-other",
        "blocks": 2,
        "confirm": False,
        "rows": (TableRow(name="y", main_ema=(0.05,)),),
    }
    assert keys(replace(one, **same)) == found["none"], "what a row is called, and how many there are, changes no value"


def test_a_new_metric_needs_no_old_one_again(cfg, measured):
    first = compute_table(replace(cfg, metrics=("fd",), confirm=False))
    measured.clear()
    both = compute_table(replace(cfg, metrics=("kd", "fd"), confirm=False))
    assert {names for _, names in measured} == {("kd",)} and len(measured) == 18
    assert [r.values("fd") for r in both.results] == [r.values("fd") for r in first.results]
    assert both.first == "kd"


def test_published_values_of_metrics_that_are_not_measured_are_refused_before_anything_is(cfg, measured):
    rows = (replace(cfg.rows[0], published={"fid": 1.0}),)
    with pytest.raises(UserError, match="row 'main alone' has a published fid, but the table's metrics are fd"):
        compute_table(replace(cfg, rows=rows))
    with pytest.raises(UserError, match="row 'main alone' has a published fid"):
        compute_row(replace(cfg, rows=rows, only_row=0))
    assert not measured


def test_measured_indeed_a_single_file_as_main(cfg, tiny_run, tmp_path):
    detector, out = "tests.evaluation.detectors_for_tests:patchwork", str(tmp_path / "ref.npz")
    compute_reference(RefConfig(data=DataConfig(name="digits"), detectors=(detector,), out=out, device="cpu"))
    file = ModelRef(path=str(tiny_run / "snapshots" / "320-ema0.1.safetensors"))
    guide = ModelRef(path=str(tiny_run / "snapshots" / "80-ema0.05.safetensors"))
    rows = (TableRow(name="alone"), TableRow(name="guided", guide=guide, weights=(2.0,)))
    cfg = replace(
        cfg, ref=out, main=file, rows=rows, num_images=20, features=str(tmp_path / "features"), confirm=False,
        metrics=("fd", f"precision@{detector}"),
    )  # fmt: skip
    for blocks in (2, 1):
        table = compute_table(replace(cfg, blocks=blocks))
        assert [(r.main_ema, r.guide_ema) for r in table.results] == [(0.1, None), (0.1, 0.05)]
        for r in table.results:
            assert r.se("fd") > 0 and (r.spread("fd") is None) == (blocks == 1)
            assert r.mean("fd") > 0 and 0 <= r.mean(f"precision@{detector}") <= 1
        text = (Path(cfg.outdir) / "table.md").read_text()
        assert f"{blocks} block" in text and f"precision (patchwork) in {detector}" in text
        assert ("standard error of the gain" in text) == (blocks == 1)
