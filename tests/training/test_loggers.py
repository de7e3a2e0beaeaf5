"""The CSV log survives resuming; optional loggers."""

import sys

import pytest

from edm2lite.config import LoggingConfig
from edm2lite.errors import UserError
from edm2lite.training.loggers import MetricsCSV, make_loggers
from edm2lite.training.rundir import RunDir


def test_lines_after_the_checkpoint_are_taken_back(tmp_path):
    path = tmp_path / "metrics.csv"
    log = MetricsCSV(path)
    for nimg in (16, 32, 48):
        log.log_metrics({"loss": nimg / 2, "lr": 0.01}, step=nimg)
    log = MetricsCSV(path)
    log.keep_until(32)
    log.log_metrics({"loss": 7.0, "lr": 0.02}, step=48)
    assert path.read_text().splitlines() == ["nimg,loss,lr", "16,8,0.01", "32,16,0.01", "48,7,0.02"]


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        ("", []),
        ("nimg,lo", []),
        ("nimg,loss\n", ["nimg,loss"]),
        ("nimg,loss\n16,8\n32", ["nimg,loss", "16,8"]),
        ("nimg,loss\n16,8\n32,", ["nimg,loss", "16,8"]),
    ],
)
def test_a_log_torn_by_a_kill_is_mended(tmp_path, found, kept):
    path = tmp_path / "metrics.csv"
    path.write_text(found)
    log = MetricsCSV(path)
    log.keep_until(100)
    log.log_metrics({"loss": 1.0}, step=48)
    assert path.read_text().splitlines() == [*(kept or ["nimg,loss"]), "48,1"]


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_is_optional(tmp_path, monkeypatch):
    assert len(make_loggers(LoggingConfig(), RunDir(tmp_path), {})) == 1
    _, board = make_loggers(LoggingConfig(tensorboard=True), RunDir(tmp_path), {})
    board.log_metrics({"loss": 1.0}, step=1)
    board.finalize("success")
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_a_missing_logger_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"edm2lite\[wandb\]"):
        make_loggers(LoggingConfig(wandb="offline"), RunDir(tmp_path), {})
