"""A training on two nodes, preempted and resumed by SLURM itself, ends with the weights of an uninterrupted one."""

import re

import pytest

from edm2lite.snapshots.files import read_tensors
from tests.conftest import TRAIN_OPTIONS
from tests.slurm.cluster import PYTHON, SLURM

STEPS = 200
OPTIONS = [
    *TRAIN_OPTIONS,
    f"--training.total_nimg={16 * STEPS}",
    f"--training.snapshot_nimg={16 * STEPS}",
    f"--training.checkpoint_nimg={16 * STEPS}",
    "--logging.every_nimg=16",
    "--logging.progress_bar=false",
]
TWO_NODES = ["--nodes=2", "--ntasks-per-node=1", "--time=10"]


def logged_steps(run_dir):
    return len((run_dir / "metrics.csv").read_text().splitlines()) - 1 if (run_dir / "metrics.csv").exists() else 0


@pytest.mark.slow
def test_preempted_training_goes_on_and_ends_equal(cluster, tmp_path):
    (tmp_path / "empty.yaml").write_text("{}")

    def train(name, partition):
        return cluster.sbatch(
            *TWO_NODES, "--cpus-per-task=1", f"--partition={partition}", f"--output={name}.out", SLURM / "train.sbatch",
            "empty.yaml", *OPTIONS, f"--run_dir={name}", cwd=tmp_path, EDM2LITE_SLURM=str(SLURM), EDM2LITE_PYTHON=PYTHON,
        )  # fmt: skip

    job, whole = train("preempted", "low"), train("whole", "high")  # side by side: each may then take a CPU
    cluster.wait_for(lambda: logged_steps(tmp_path / "preempted") >= 20, "20 steps", 90)
    urgent = cluster.sbatch(
        *TWO_NODES, "--cpus-per-task=3", "--partition=high", "--output=urgent.out", "--wrap=true", cwd=tmp_path
    )
    cluster.wait(urgent, 60)
    cluster.start_soon(job)
    assert cluster.wait(job, 120)["Restarts"] == "1"
    cluster.wait(whole, 60)

    log = (tmp_path / "preempted.out").read_text()
    assert "back in the queue" in log, cluster.report("it did not requeue itself")
    saved = min(int(path.stem) for path in (tmp_path / "preempted" / "checkpoints").iterdir())
    assert 20 <= saved // 16 < STEPS, "saved when it was preempted; no other checkpoint was due"
    steps = [int(n) // 16 for n in re.findall(r"^(\d+),", (tmp_path / "preempted" / "metrics.csv").read_text(), re.M)]
    assert steps == list(range(1, STEPS + 1)), "every step is logged once"
    snapshots = {path.name: read_tensors(path) for path in (tmp_path / "whole" / "snapshots").iterdir()}
    assert len(snapshots) == 2
    for name, tensors in snapshots.items():
        resumed = read_tensors(tmp_path / "preempted" / "snapshots" / name)
        assert all(tensors[key].equal(resumed[key]) for key in tensors), name
