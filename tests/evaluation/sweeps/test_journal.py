"""The journal that workers share: claims, the dead, damage; and what a folder is for."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from optuna.trial import TrialState

from edm2lite.config import ModelRef, SamplerConfig
from edm2lite.config.sweeps import SWEEP, RangeConfig, SweepPoint
from edm2lite.errors import UserError
from edm2lite.evaluation.sweeps import workers
from edm2lite.evaluation.sweeps.identity import check_same, identity
from edm2lite.evaluation.sweeps.journal import Journal
from edm2lite.evaluation.sweeps.plan import Task, rungs
from edm2lite.evaluation.sweeps.search import setting
from edm2lite.evaluation.sweeps.workers import Worker
from tests.evaluation.sweeps.bowl import BowlScorer, sweep_config

POINT = SweepPoint(main_ema=0.1, guide_ema=0.15, weight=2.0)


@pytest.fixture
def cfg(tmp_path):
    return sweep_config(tmp_path)


def score(cfg, task):
    stage = task.stage
    return BowlScorer(cfg).score(setting(cfg, task), stage.first_seed, None, stage.blocks, stage.images)


def test_a_point_is_claimed_scored_and_read_back_by_others(cfg, tmp_path):
    stage = rungs(cfg, SWEEP)[0]
    task, result = Task(stage, POINT), score(cfg, Task(stage, POINT))
    with Worker(tmp_path / "workers") as worker, Worker(tmp_path / "workers") as other:
        mine, theirs = Journal(cfg, True, worker), Journal(cfg, True, other)
        assert not mine.begun()
        number = mine.claim(task)
        assert theirs.look(stage).running == [POINT] and theirs.claim(task) is None
        mine.tell(stage, number, result, result.mean("fd"))
        assert theirs.look(stage).ranks == {POINT: result.mean("fd")} and theirs.look(stage).running == []
        assert theirs.results(stage) == {POINT: result} and theirs.begun()
        assert theirs.claim(task) is None, "it has a score"
        states = [trial.state for trial in theirs.trials(stage)]
        assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.FAIL]
        assert Journal(cfg, False, worker).sign == -1


def test_many_workers_at_once_claim_each_point_once(cfg, tmp_path):
    stage, won = rungs(cfg, SWEEP)[0], []
    points = [replace(POINT, weight=w) for w in (1.5, 2.0, 2.5)]
    barrier = threading.Barrier(4)

    def claim_all():
        with Worker(tmp_path / "workers") as worker:
            journal = Journal(cfg, True, worker)
            barrier.wait()
            won.extend(point for point in points if journal.claim(Task(stage, point)) is not None)
            barrier.wait()

    threads = [threading.Thread(target=claim_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(p.weight for p in won) == [1.5, 2.0, 2.5]


def test_what_a_dead_worker_left_is_taken_up(cfg, tmp_path, monkeypatch):
    stage, folder = rungs(cfg, SWEEP)[0], tmp_path / "workers"
    task = Task(stage, POINT)
    with Worker(folder) as worker:
        journal = Journal(cfg, True, worker)
        with Worker(folder) as gone:
            Journal(cfg, True, gone).claim(task)
            assert journal.look(stage).running == [POINT]
        assert journal.look(stage).running == [] and journal.claim(task) == 1, "it said that it went"
        assert [t.user_attrs.get("why") for t in journal.trials(stage)] == ["its worker is gone", None]

        with Worker(folder) as silent:
            monkeypatch.setattr(workers, "_machine", lambda: "another one")
            assert not worker.is_dead(silent.name)
            old = folder / f"{silent.name}.json"
            now = old.stat().st_mtime
            os.utime(old, (now - workers.STALE_S - 5, now - workers.STALE_S - 5))
            assert worker.is_dead(silent.name), "silent for long"
            silent._touch()
            assert not worker.is_dead(silent.name)
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    with Worker(folder) as worker:
        (folder / "killed.json").write_text(json.dumps({"machine": workers._machine(), "pid": dead.pid}))
        assert worker.is_dead("killed"), "no such process on this machine"
        assert not worker.is_dead(worker.name)


def test_a_line_cut_off_by_a_power_cut_is_mended_and_damage_is_named(cfg, tmp_path):
    stage = rungs(cfg, SWEEP)[0]
    with Worker(tmp_path / "workers") as worker:
        journal = Journal(cfg, True, worker)
        journal.claim(Task(stage, POINT))
        whole = journal.path.read_bytes()
        journal.path.write_bytes(whole + b'{"op_code":4,"wor')
        assert Journal(cfg, True, worker).look(stage).running == [POINT]
        assert journal.path.read_bytes() == whole
        journal.path.write_bytes(b"nonsense\n" + whole)
        with pytest.raises(UserError, match=r"journal.log is damaged .* delete it"):
            Journal(cfg, True, worker)


def test_ranges_and_lists_and_training_lengths_survive_the_journal(tmp_path):
    for nimg in (64, 128):
        (tmp_path / "small" / "snapshots").mkdir(parents=True, exist_ok=True)
        (tmp_path / "small" / "snapshots" / f"{nimg}-ema0.1.safetensors").touch()
    cfg = sweep_config(
        tmp_path, main_ema=RangeConfig(low=0.01, high=0.25, step=0.005), guide_ema=(None, 0.1), guide_nimg=(64, 128)
    )
    assert len(cfg.axes["main_ema"]) == 49 and cfg.axes["main_ema"][2] == 0.02
    stage = rungs(cfg, SWEEP)[0]
    points = [
        SweepPoint(main_ema=ema, guide_ema=guide, guide_nimg=64, weight=2.5)
        for ema in cfg.axes["main_ema"]
        for guide in (None, 0.1)
    ]
    with Worker(tmp_path / "workers") as worker:
        journal = Journal(cfg, True, worker)
        for point in points[::9]:
            assert journal.claim(Task(stage, point)) is not None
        assert journal.look(stage).running == points[::9]


def test_a_folder_holds_one_sweep(cfg, tmp_path):
    protocol = BowlScorer(cfg).table([]).protocol
    begin = lambda other, begun=True: check_same(cfg.outdir, identity(other, protocol), begun)  # noqa: E731
    begin(cfg, False)
    for same in (cfg, replace(cfg, title="Another", devices=2, detector_files={"inception": "x"})):
        begin(same)
    for other, named in (
        (replace(cfg, sampler=SamplerConfig(num_steps=7)), "sampler"),
        (replace(cfg, weights=(1.5, 2.0)), r"weights \[1.5, 2.0, 2.5, 3.0\], now \[1.5, 2.0\]"),
        (replace(cfg, first_seed=5), "first_seed 0, now 5"),
    ):
        with pytest.raises(UserError, match=f"holds a sweep with {named}.*choose another outdir"):
            begin(other)
    with pytest.raises(UserError, match="protocol"):
        check_same(cfg.outdir, identity(cfg, {"fd": "another reference"}), True)
    (tmp_path / "small" / "snapshots" / "64-ema0.1.safetensors").write_text("trained again")
    with pytest.raises(UserError, match="holds a sweep with snapshots"):
        begin(cfg)
    begin(replace(cfg, guide=ModelRef(path=str(tmp_path / "main"))), begun=False)
