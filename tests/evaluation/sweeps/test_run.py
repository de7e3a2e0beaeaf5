"""Whole sweeps on a bowl: the outcome, several workers, killed and resumed."""

import csv
import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from edm2lite.config import TableConfig
from edm2lite.config.sweeps import ALONE, SWEEP
from edm2lite.errors import UserError
from edm2lite.evaluation.sweeps import outcome
from edm2lite.evaluation.sweeps.run import take_part
from edm2lite.evaluation.sweeps.search import open_journal, work
from edm2lite.evaluation.sweeps.together import despite_losses, is_finished
from edm2lite.evaluation.sweeps.workers import Worker
from edm2lite.evaluation.tables.results import read_table
from tests.conftest import ROOT
from tests.evaluation.sweeps.bowl import BEST, BowlScorer, sweep_config


def trials(cfg):
    return list(csv.DictReader((Path(cfg.outdir) / "sweep.csv").read_text().splitlines()))


def finished(cfg):
    """What was scored, without who did it and when."""
    columns = ("row", "images", "blocks", "first_seed", "main_ema", "guide_ema", "guide_nimg", "weight", "score", "se")
    return sorted(tuple(t[c] for c in columns) for t in trials(cfg) if t["state"] == "complete")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A sweep by one worker; other tests compare theirs with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edm2lite.evaluation.sweeps.search.reconstruct_for", lambda refs: None)
        cfg = sweep_config(tmp_path_factory.mktemp("sweep"))
        scorer = BowlScorer(cfg)
        take_part(cfg, scorer)
    return cfg, scorer


def test_the_winner_is_confirmed_on_fresh_seeds_and_both_numbers_are_given(uninterrupted):
    cfg, _ = uninterrupted
    table = read_table(cfg.outdir)
    best, alone = table.best(True), table.best(False)
    assert (best.main_ema, best.guide_ema, best.weight) == BEST and alone.main_ema == BEST[0]
    assert [len([r for r in table.results if r.row == row]) for row in (ALONE, SWEEP)] == [3, 4]
    for guided, found in ((True, best), (False, alone)):
        again = table.confirmed[guided]
        assert again.setting == found.setting and again.first_seed == 3 * 1600
        assert not set(again.values("fd")) & set(found.values("fd"))
    text = (Path(cfg.outdir) / "sweep.md").read_text()
    numbers = re.search(
        r"sweep, EMA 0.1, guide EMA 0.15, w = 2: search score FD ([\d.]+) \+- ([\d.]+) \(N = 3 x 1600\), "
        r"fresh seeds ([\d.]+) \+- ([\d.]+) \(N = 3 x 1600\), gap \+?(-?[\d.]+)",
        text,
    )
    search, _, fresh, sd, gap = map(float, numbers.groups())
    assert search == round(best.mean("fd"), 3) and fresh == round(table.confirmed[True].mean("fd"), 3) and sd > 0
    assert gap == pytest.approx(fresh - search, abs=2e-3)
    assert "only those of one stage are compared" in text and text.count("not to be told from it") == 2
    screening = read_table(Path(cfg.outdir) / "screening")
    assert len(screening.results) == 65 and {len(r.values("fd")) for r in screening.results} == {1}
    assert screening.config["num_images"] == 100 and TableConfig.from_plain(screening.config).blocks == 1
    for name in ("heatmap-ema", "weights", "history"):
        assert (Path(cfg.outdir) / f"{name}.png").stat().st_size > 5000
        assert (Path(cfg.outdir) / f"{name}.svg").read_text().startswith("<?xml")


def test_no_point_is_scored_twice_and_small_and_large_n_are_not_mixed(uninterrupted):
    cfg, scorer = uninterrupted
    assert len(set(scorer.scored)) == len(scorer.scored) == len(finished(cfg)) == 65 + 15 + 3 + 4 + 3 + 2
    counts = Counter((t["row"], t["images"], t["blocks"], t["first_seed"]) for t in trials(cfg))
    assert counts["sweep", "100", "1", "0"] == 60 and counts["sweep", "1600", "3", "4800"] == 1


def test_the_same_command_again_computes_nothing_and_prints_the_outcome(uninterrupted, capsys):
    cfg, _ = uninterrupted
    before, journal = finished(cfg), (Path(cfg.outdir) / "journal.log").read_bytes()
    idle = BowlScorer(cfg)
    assert take_part(cfg, idle) == 0 and idle.scored == []
    assert "fresh seeds" in capsys.readouterr().out
    assert finished(cfg) == before and (Path(cfg.outdir) / "journal.log").read_bytes() == journal


def test_two_workers_share_the_points_and_find_the_same(uninterrupted, tmp_path, instant):
    cfg = sweep_config(tmp_path)
    scorers = [BowlScorer(cfg, seconds=0.002) for _ in range(2)]
    with Worker(tmp_path / "w") as a, Worker(tmp_path / "w") as b:
        journals = [open_journal(cfg, scorer, worker) for scorer, worker in zip(scorers, (a, b), strict=True)]
        with ThreadPoolExecutor(2) as pool:
            done = list(pool.map(work, (cfg, cfg), scorers, journals))
    first, second = (set(scorer.scored) for scorer in scorers)
    assert first and second and not first & second and done == [len(first), len(second)]
    take_part(cfg, BowlScorer(cfg))
    assert finished(cfg) == finished(uninterrupted[0])


def test_of_several_workers_one_says_what_was_found(uninterrupted, capsys):
    cfg, scorer = uninterrupted
    with Worker(Path(cfg.outdir) / "workers") as worker:
        journal = open_journal(cfg, scorer, worker)
        outcome.conclude(cfg, scorer, journal, again=False)
        assert capsys.readouterr().out == ""
        (Path(cfg.outdir) / ".outcome").unlink()
        outcome.conclude(cfg, scorer, journal, again=False)
        assert capsys.readouterr().out.count("search grid: 60 points") == 1


class Stopping(BowlScorer):
    """Fails at a point."""

    def __init__(self, cfg, at, error):
        super().__init__(cfg)
        self.at, self.error = at, error

    def score(self, *args, **kwargs):
        if len(self.scored) == self.at:
            raise self.error
        return super().score(*args, **kwargs)


def test_stopped_in_a_point_it_gives_that_back_and_keeps_the_rest(uninterrupted, tmp_path, instant):
    cfg = sweep_config(tmp_path)
    stopped = Stopping(cfg, 20, UserError("the disk is full"))
    with pytest.raises(UserError, match="the disk is full"):
        take_part(cfg, stopped)
    resumed = BowlScorer(cfg)
    take_part(cfg, resumed)
    assert not set(stopped.scored) & set(resumed.scored) and finished(cfg) == finished(uninterrupted[0])
    (left,) = (t for t in trials(cfg) if t["state"] == "fail")
    assert left["note"] == "ended by UserError"


def test_a_larger_budget_goes_on_and_another_sweep_is_refused(tmp_path, instant):
    cfg = sweep_config(tmp_path, search="random", trials=6, alone=False, rungs=(100, 1600), finalists=2)
    take_part(cfg, BowlScorer(cfg))
    more = replace(cfg, trials=10)
    added = BowlScorer(more)
    take_part(more, added)
    assert sum(s[-1] == 100 for s in added.scored) == 4
    with pytest.raises(UserError, match=r"promote 0.25, now 0.5.*choose another outdir"):
        take_part(replace(cfg, promote=0.5), BowlScorer(cfg))


def test_higher_is_better_where_it_is(tmp_path, instant):
    cfg = sweep_config(tmp_path, search="local", metrics=("is_digits",))
    take_part(cfg, BowlScorer(cfg, metric="is_digits", sign=-1))
    best = read_table(cfg.outdir).best(True)
    assert (best.main_ema, best.guide_ema, best.weight) == BEST


def test_a_score_that_is_no_number_is_refused(tmp_path, instant):
    cfg = sweep_config(tmp_path)
    with pytest.raises(UserError, match="is nan; look at the models"):
        take_part(cfg, BowlScorer(cfg, noise=float("nan")))


def test_lost_workers_do_not_matter_if_the_others_finish(uninterrupted, tmp_path, capsys):
    def launch():
        raise UserError("1 of 2 processes ended early (process 1: signal 9); run the same command again to go on")

    assert is_finished(uninterrupted[0]) and despite_losses(uninterrupted[0], launch) == 0
    assert capsys.readouterr().err.startswith("1 of 2 processes ended early (process 1: signal 9); the others did")
    with pytest.raises(UserError, match="run the same command again"):
        despite_losses(sweep_config(tmp_path), launch)


def test_what_cannot_be_told_from_the_winner_is_listed(tmp_path, instant, monkeypatch):
    monkeypatch.setattr(outcome, "statistically_tied", lambda best, other: True)
    cfg = sweep_config(tmp_path, alone=False, confirm=False, rungs=(100, 400), finalists=2, promote=0.02)
    take_part(cfg, BowlScorer(cfg))
    text = (Path(cfg.outdir) / "sweep.md").read_text()
    assert re.search(r"not to be told from it .*, of 1: EMA [\d.]+, guide EMA [\d.]+, w = [\d.]+ \d\.\d+ \+- ", text)
    assert "fresh seeds" not in text and read_table(cfg.outdir).confirmed == {}


def start(folder, **options):
    """A worker in a process of its own."""
    command = [sys.executable, "-m", "tests.evaluation.sweeps.bowl", str(folder), json.dumps(options)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_killed_workers_are_replaced_and_the_sweep_is_that_of_an_uninterrupted_one(uninterrupted, tmp_path):
    with start(tmp_path, hang=8) as killed, start(tmp_path, hang=12) as ended:
        deadline = time.monotonic() + 90
        while len(list(tmp_path.glob("hangs-*"))) < 2:
            assert time.monotonic() < deadline and killed.poll() is None and ended.poll() is None
            time.sleep(0.05)
        killed.send_signal(signal.SIGKILL)
        ended.send_signal(signal.SIGTERM)
        ended.communicate(timeout=30)
        killed.communicate(timeout=30)
    assert len(list((tmp_path / "out" / "workers").iterdir())) == 1, "the killed one could not say so"
    with start(tmp_path) as resumed:
        out, err = resumed.communicate(timeout=90)
    assert resumed.returncode == 0, err
    cfg = sweep_config(tmp_path)
    assert finished(cfg) == finished(uninterrupted[0])
    notes = Counter(t["note"] for t in trials(cfg))
    assert notes["its worker is gone"] == 1 and notes["ended by KeyboardInterrupt"] == 1
    assert f"scored {92 - 7 - 11}" in out, "the resumed one did what was missing and nothing else"
