"""The run directory's rules."""

from dataclasses import replace

import pytest

from edm2lite.config import DataConfig, Nimg, TrainConfig, TrainerConfig, TrainingConfig
from edm2lite.errors import UserError
from edm2lite.training.rundir import RunDir, finished, preflight


def config(tmp_path, **training) -> TrainConfig:
    return TrainConfig(
        run_dir=str(tmp_path / "run"), data=DataConfig(name="digits"), training=TrainingConfig(**training)
    )


def test_what_does_not_change_the_result_may_differ(tmp_path):
    cfg = config(tmp_path)
    run = RunDir(cfg.run_dir)
    run.begin(cfg)
    run.check(config(tmp_path, seed=1))  # nothing has been trained yet
    run.checkpoints.mkdir()
    run.checkpoint(Nimg("8Mi")).touch()
    RunDir(cfg.run_dir).check(config(tmp_path, batch_per_device=32, total_nimg=Nimg("4Gi")))
    RunDir(cfg.run_dir).check(replace(cfg, trainer=TrainerConfig(devices=4)))
    RunDir(cfg.run_dir).check(replace(cfg, find_batch=True))
    with pytest.raises(UserError, match=r"training.seed = 0, but this command sets 1"):
        RunDir(cfg.run_dir).check(config(tmp_path, seed=1))
    with pytest.raises(UserError, match=r"training.compile = False, but this command sets True"):
        RunDir(cfg.run_dir).check(config(tmp_path, compile=True))


def test_checkpoints_by_time_the_newest_first(tmp_path):
    run = RunDir(tmp_path)
    assert run.list_checkpoints() == []
    run.checkpoints.mkdir()
    for name in ("512Mi.safetensors", "1Gi.safetensors", "900Mi.safetensors", ".2Gi.safetensors.77.tmp"):
        (run.checkpoints / name).touch()
    (run.checkpoints / "4Gi.safetensors.damaged").touch()
    assert [path.stem for path in run.list_checkpoints()] == ["1Gi", "900Mi", "512Mi"]


def test_finished(tmp_path, capsys):
    cfg = config(tmp_path, total_nimg=Nimg("1Gi"))
    assert not finished(cfg)
    run = RunDir(cfg.run_dir)
    run.checkpoints.mkdir(parents=True)
    run.checkpoint(Nimg("512Mi")).touch()
    assert not finished(cfg)
    run.checkpoint(Nimg("1Gi")).touch()
    assert finished(cfg) and "finished at nimg 1Gi" in capsys.readouterr().out


def test_a_batch_that_does_not_divide_is_refused(tmp_path):
    with pytest.raises(UserError, match="does not divide over 3 devices"):
        preflight(replace(config(tmp_path), trainer=TrainerConfig(devices=3)))


def test_begin_clears_its_own_leftovers_and_nothing_else(tmp_path):
    cfg = config(tmp_path)
    run = RunDir(cfg.run_dir)
    mine, theirs = run.snapshots / ".8Mi-ema0.05.safetensors.1.tmp", run.path / "docs" / ".thesis.tmp"
    for path in (mine, theirs):
        path.parent.mkdir(parents=True)
        path.touch()
    run.begin(cfg)
    assert not mine.exists() and theirs.exists()


def test_a_setting_that_is_younger_than_the_run_had_its_default(tmp_path):
    cfg = config(tmp_path)
    run = RunDir(cfg.run_dir)
    run.begin(cfg)
    run.config.write_text("".join(line for line in run.config.read_text().splitlines(True) if "nu:" not in line))
    assert "nu:" not in run.config.read_text() and "P_std" in run.config.read_text()
    run.checkpoints.mkdir()
    run.checkpoint(Nimg("8Mi")).touch()
    run.check(cfg)
    with pytest.raises(UserError, match=r"training.nu = None, but this command sets 5"):
        run.check(config(tmp_path, nu=5.0))
