"""Curves of trainings, from what a run directory holds."""

from edm2lite.evaluation.report import training
from edm2lite.evaluation.report.training import training_curves
from edm2lite.training.watch_log import WatchLog
from tests.evaluation.report.conftest import write_run


def test_loss_and_what_was_watched(runs):
    captions, drawings = zip(*training_curves(runs), strict=True)
    assert captions == (
        "Training loss.",
        "FD of few images while training, for trends alone; bars: standard error.",
    )
    for drawn in drawings:
        assert ">main<" in drawn and ">guide<" in drawn


def test_what_was_watched_has_its_standard_error(runs, monkeypatch):
    monkeypatch.setattr(training, "draw", lambda lines, x, y: lines)
    assert [(line.x, line.y, line.error) for line in training_curves(runs)[1][1]] == [([160 / 1024], [40.0], [2.0])] * 2


def test_looks_of_other_settings_are_another_line(tmp_path):
    write_run(tmp_path / "run", 0)
    WatchLog(tmp_path / "run" / "watch.csv", setup="11112222").add(160, 0.1, {"N": 10.0, "fd": 60.0, "is": 2.0})
    (_, drawn), (caption, score) = training_curves([tmp_path / "run"])[1:]
    assert ">run, setup 3f2ab1cd<" in drawn and ">run, setup 11112222<" in drawn
    assert caption.startswith("IS of few") and ">run, setup 3f2ab1cd<" not in score


def test_runs_without_files_have_no_line_and_torn_lines_no_point(tmp_path):
    assert training_curves([tmp_path / "gone"]) == []
    write_run(tmp_path / "there", 0)
    (tmp_path / "there" / "watch.csv").write_text("nimg,setup,ema,N,fd\n160,aa,0.05,10,\n")
    with open(tmp_path / "there" / "metrics.csv", "a") as f:
        f.write("480,1e-")
    ((caption, drawn),) = training_curves([tmp_path / "gone", tmp_path / "there"])
    assert caption == "Training loss." and ">there<" in drawn and ">gone<" not in drawn
