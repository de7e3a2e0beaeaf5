"""What the tests of whole runs share: a small run as a command line, its final state, differences."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from edm2lite.snapshots.files import read_tensors
from tests.conftest import ROOT, TRAIN_OPTIONS

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
TWO_RANKS = ["--trainer.devices=2", "--trainer.strategy=ddp"]


def start(run_dir: Path, *options: str, **kwargs: object) -> subprocess.Popen:
    """The run as a process of its own."""
    return subprocess.Popen(
        [sys.executable, *OPTIONS, f"--run_dir={run_dir}", *options],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True, **kwargs,
    )  # fmt: skip


def steps_logged(run_dir: Path) -> int:
    """Steps in the log so far."""
    path = run_dir / "metrics.csv"
    return len(path.read_text().splitlines()) - 1 if path.exists() else 0


def final_state(run_dir: Path, total: int = TOTAL) -> dict[str, torch.Tensor]:
    """Raw weights, both EMA profiles and Adam's moments at the end, and the EMA snapshots on the way."""
    state = load_file(run_dir / "checkpoints" / f"{total}.safetensors")
    for path in (run_dir / "snapshots").iterdir():
        state |= {f"{path.name}/{k}": v for k, v in read_tensors(path).items()}
    return state


def largest_difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Over all weights and averages; Adam's moments, whose size is that of the gradients, count only if none may differ."""
    assert a.keys() == b.keys()
    weights = max(float((a[k].double() - b[k].double()).abs().max()) for k in a if not k.startswith("adam/"))
    return weights if weights else max(float((a[k].double() - b[k].double()).abs().max()) for k in a)
