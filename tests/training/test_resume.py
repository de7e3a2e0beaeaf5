"""Killed at any moment and resumed in any layout, a run equals the uninterrupted one."""

import csv
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edm2lite.cli import TRAIN, main
from tests.conftest import run_script
from tests.training.runs import (
    OPTIONS,
    TOTAL,
    TWO_RANKS,
    final_state,
    largest_difference,
    start,
    steps_logged,
)


def rows(run_dir: Path) -> list[dict[str, str]]:
    with open(run_dir / "metrics.csv") as f:
        return list(csv.DictReader(f))


def kill_after(run_dir: Path, step: int) -> None:
    """Start the run and kill it with SIGKILL once it has logged `step`."""
    process = start(run_dir)
    while process.poll() is None:
        if steps_logged(run_dir) >= step:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.001)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the run ended before it could be killed"


LAYOUTS = {
    "same": [],
    "other micro-batch and workers": ["--training.batch_per_device=5", "--data.num_workers=1"],
    "2 gloo processes": [*TWO_RANKS, "--training.batch_per_device=4"],
}


@pytest.mark.parametrize(
    "layout", ["same", pytest.param("other micro-batch and workers", marks=pytest.mark.slow), "2 gloo processes"]
)
def test_killed_and_resumed_equals_uninterrupted(layout, uninterrupted, tmp_path):
    run_dir = tmp_path / "run"
    kill_after(run_dir, random.randrange(8, 45))
    done = run_script(*OPTIONS, f"--run_dir={run_dir}", *LAYOUTS[layout])
    assert done.returncode == 0, done.stderr
    difference = largest_difference(final_state(run_dir), final_state(uninterrupted))
    assert difference <= (0 if layout == "same" else 1e-6)
    logged = [int(row["nimg"]) for row in rows(run_dir)]
    assert logged == list(range(16, TOTAL + 1, 16)), "every step is logged once"


def test_a_finished_run_says_so_and_changes_nothing(uninterrupted):
    before = {p: p.stat().st_mtime_ns for p in uninterrupted.rglob("*")}
    done = run_script(*OPTIONS, f"--run_dir={uninterrupted}")
    assert done.returncode == 0 and "finished" in done.stdout
    assert before == {p: p.stat().st_mtime_ns for p in uninterrupted.rglob("*")}


def test_a_different_run_is_refused_and_names_the_setting(uninterrupted):
    done = run_script(*OPTIONS, f"--run_dir={uninterrupted}", "--training.ref_lr=0.5")
    assert done.returncode == 2
    assert "training.ref_lr = 0.01" in done.stderr and "sets 0.5" in done.stderr


@pytest.mark.slow
def test_training_longer_goes_on(uninterrupted, tmp_path):
    run_dir = tmp_path / "run"
    half = [o for o in OPTIONS if "total_nimg" not in o]
    assert run_script(*half, f"--training.total_nimg={TOTAL // 2}", f"--run_dir={run_dir}").returncode == 0
    assert run_script(*OPTIONS, f"--run_dir={run_dir}").returncode == 0
    assert largest_difference(final_state(run_dir), final_state(uninterrupted)) == 0


def damage(checkpoint: Path) -> None:
    """Flip one bit in the middle."""
    with open(checkpoint, "r+b") as f:
        f.seek(checkpoint.stat().st_size // 2)
        byte = f.read(1)[0]
        f.seek(-1, os.SEEK_CUR)
        f.write(bytes([byte ^ 1]))


@pytest.mark.slow
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(uninterrupted, tmp_path):
    run_dir = tmp_path / "run"
    kill_after(run_dir, 20)
    newest, before = sorted((run_dir / "checkpoints").glob("[!.]*"), key=lambda p: int(p.stem), reverse=True)[:2]
    damage(newest)
    done = run_script(*OPTIONS, f"--run_dir={run_dir}")
    assert done.returncode == 0 and f"{newest.name} is damaged" in done.stderr
    assert largest_difference(final_state(run_dir), final_state(uninterrupted)) == 0
    assert before.exists() or newest.with_name(f"{newest.name}.damaged").exists()


def test_when_every_checkpoint_is_damaged_nothing_is_begun_anew(uninterrupted, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(uninterrupted, run_dir)
    for checkpoint in (run_dir / "checkpoints").iterdir():
        checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    done = run_script(*OPTIONS, f"--run_dir={run_dir}", f"--training.total_nimg={2 * TOTAL}")
    assert done.returncode == 2 and "is damaged" in done.stderr.strip().splitlines()[-1]


def test_other_data_under_the_same_path_are_refused(uninterrupted):
    done = run_script(
        *OPTIONS, f"--run_dir={uninterrupted}", "--data.name=patches", f"--training.total_nimg={2 * TOTAL}"
    )
    assert done.returncode == 2 and "data.name = digits" in done.stderr


def test_a_network_that_does_not_fit_leaves_the_directory_free(tmp_path, capsys):
    options = [*OPTIONS[1:], f"--run_dir={tmp_path / 'run'}", "--network.channel_mult=[1,2,2,2,2]"]
    assert main(TRAIN, "train.py", options) == 2
    assert "5 levels" in capsys.readouterr().err and not (tmp_path / "run").exists()


FORKS = multiprocessing.get_context("forkserver")  # which imports Lightning once, not twenty times
FORKS.set_forkserver_preload(["edm2lite.training.fit"])


def train(*options: str) -> None:
    """What train.py does."""
    sys.exit(main(TRAIN, "train.py", options))


def strike(run_dir: Path, moment: Callable[[], bool]) -> bool:
    """Start the run, kill it at a moment; whether that met it while saving."""
    process = FORKS.Process(
        target=train, args=(*OPTIONS[1:], f"--run_dir={run_dir}", *until(10**6), "--training.checkpoint_nimg=16")
    )
    process.start()
    while process.is_alive() and not moment():
        time.sleep(0.0005)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    return saving(run_dir)


def saving(run_dir: Path) -> bool:
    return any(run_dir.glob("checkpoints/.*.tmp"))


def until(steps: int) -> list[str]:
    return [f"--training.total_nimg={16 * steps}"]


@pytest.mark.slow
def test_killed_twenty_times_at_random_moments(tmp_path, monkeypatch):
    """A checkpoint is written after every step; half of the kills aim at the writing, half at any moment."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run_dir, whole, met = tmp_path / "run", tmp_path / "whole", 0
    for kill in range(20):
        end = steps_logged(run_dir) + random.uniform(0, 4)
        if kill % 2:
            met += strike(run_dir, lambda end=end: steps_logged(run_dir) >= end and saving(run_dir))
        else:
            late = time.monotonic() + random.uniform(0, 3)
            met += strike(run_dir, lambda late=late: time.monotonic() >= late)
    assert met, "no kill met a save"
    newest = max(int(path.stem) for path in (run_dir / "checkpoints").glob("[!.]*.safetensors"))
    steps = newest // 16 + 10
    for directory in (run_dir, whole):
        assert run_script(*OPTIONS, *until(steps), f"--run_dir={directory}").returncode == 0
    assert largest_difference(final_state(run_dir, 16 * steps), final_state(whole, 16 * steps)) == 0
