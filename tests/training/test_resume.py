"""Killed at any moment and resumed in any layout, a run equals the uninterrupted one."""

import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from edm2lite.snapshots.files import read_tensors
from tests.conftest import ROOT, TRAIN_OPTIONS, run_script

TOTAL, EVERY = 16 * 60, 16 * 6
OPTIONS = [
    "train.py",
    *TRAIN_OPTIONS,
    "--network.dropout=0.1",
    f"--training.total_nimg={TOTAL}",
    f"--training.snapshot_nimg={TOTAL // 2}",
    f"--training.checkpoint_nimg={EVERY}",
    "--logging.every_nimg=16",
    "--logging.progress_bar=false",
]


def rows(run_dir: Path) -> list[dict[str, str]]:
    with open(run_dir / "metrics.csv") as f:
        return list(csv.DictReader(f))


def kill_after(run_dir: Path, step: int) -> None:
    """Start the run and kill it with SIGKILL once it has logged `step`."""
    process = subprocess.Popen(
        [sys.executable, *OPTIONS, f"--run_dir={run_dir}"], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    while process.poll() is None:
        if (run_dir / "metrics.csv").exists() and len((run_dir / "metrics.csv").read_text().splitlines()) > step:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.001)
    process.wait()
    assert process.returncode == -signal.SIGKILL, "the run ended before it could be killed"


def final_state(run_dir: Path) -> dict[str, torch.Tensor]:
    """Raw weights and both EMA profiles at the end, and the EMA snapshots on the way."""
    checkpoint = torch.load(run_dir / "checkpoints" / f"{TOTAL}.ckpt", weights_only=True)
    state = {f"net/{k}": v for k, v in checkpoint["state_dict"].items()}
    for sigma_rel, tensors in checkpoint["ema"].items():
        state |= {f"{sigma_rel}/{k}": v for k, v in tensors.items()}
    for path in (run_dir / "snapshots").iterdir():
        state |= {f"{path.name}/{k}": v for k, v in read_tensors(path).items()}
    return state


def largest_difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[k].double() - b[k].double()).abs().max()) for k in a)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    done = run_script(*OPTIONS, f"--run_dir={run_dir}")
    assert done.returncode == 0, done.stderr
    return run_dir


LAYOUTS = {
    "same": [],
    "other micro-batch and workers": ["--training.batch_per_device=5", "--data.num_workers=1"],
    "2 gloo processes": ["--trainer.devices=2", "--trainer.strategy=ddp", "--training.batch_per_device=4"],
}


@pytest.mark.parametrize("layout", LAYOUTS)
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


def test_training_longer_goes_on(uninterrupted, tmp_path):
    run_dir = tmp_path / "run"
    half = [o for o in OPTIONS if "total_nimg" not in o]
    assert run_script(*half, f"--training.total_nimg={TOTAL // 2}", f"--run_dir={run_dir}").returncode == 0
    assert run_script(*OPTIONS, f"--run_dir={run_dir}").returncode == 0
    assert largest_difference(final_state(run_dir), final_state(uninterrupted)) == 0


def test_a_damaged_checkpoint_is_named(uninterrupted, tmp_path):
    run_dir = tmp_path / "run"
    shutil.copytree(uninterrupted, run_dir)
    checkpoint = run_dir / "checkpoints" / f"{TOTAL}.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    done = run_script(*OPTIONS, f"--run_dir={run_dir}", f"--training.total_nimg={2 * TOTAL}")
    assert done.returncode == 2 and f"{TOTAL}.ckpt is damaged" in done.stderr.strip().splitlines()[-1]


def test_a_network_that_does_not_fit_leaves_the_directory_free(tmp_path):
    done = run_script(*OPTIONS, f"--run_dir={tmp_path / 'run'}", "--network.channel_mult=[1,2,2,2,2]")
    assert done.returncode == 2 and "5 levels" in done.stderr and not (tmp_path / "run").exists()
