"""Curves of trainings, from what a run directory holds."""

from edm2lite.evaluation.report.training import training_curves
from tests.evaluation.report.conftest import write_run


def test_loss_and_what_was_watched(runs):
    captions, drawings = zip(*training_curves(runs), strict=True)
    assert captions == ("Training loss.", "fd of few images while training, for trends alone.")
    for drawn in drawings:
        assert ">main<" in drawn and ">guide<" in drawn


def test_runs_without_files_have_no_line(tmp_path):
    assert training_curves([tmp_path / "gone"]) == []
    write_run(tmp_path / "there", 0)
    (tmp_path / "there" / "watch.csv").write_text("nimg,ema,num_images,fd\n160,0.05,10,\n")
    ((caption, drawn),) = training_curves([tmp_path / "gone", tmp_path / "there"])
    assert caption == "Training loss." and ">there<" in drawn and ">gone<" not in drawn
