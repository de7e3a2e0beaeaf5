"""What SLURM's environment means for a training; the real thing is in tests/slurm."""

import os
import stat

import pytest

from edm2lite.config import TrainerConfig
from edm2lite.errors import UserError
from edm2lite.training.slurm import check_tasks, requeue, under_slurm


@pytest.fixture
def slurm(monkeypatch):
    """Set variables as in a job; those of a real one are taken away."""
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    return lambda **values: [monkeypatch.setenv(f"SLURM_{k}", str(v)) for k, v in values.items()]


def test_outside_slurm_and_in_an_interactive_shell_nothing_is_asked(slurm):
    assert not under_slurm()
    check_tasks(TrainerConfig(devices=2))
    slurm(JOB_ID=1, NTASKS=1, JOB_NAME="bash")
    assert not under_slurm()


@pytest.mark.parametrize(
    ("variables", "devices", "nodes", "message"),
    [
        ({"NTASKS": 1, "STEP_ID": 0}, 2, 1, r"started 1 tasks \(1 a node, 1 nodes\), but .* is 2 x 1"),
        ({"NTASKS": 2, "NTASKS_PER_NODE": 2, "STEP_ID": 0}, 1, 1, "started 2 tasks"),
        ({"NTASKS": 2, "NTASKS_PER_NODE": 1, "NNODES": 2, "STEP_ID": 0}, 2, 1, r"\(1 a node, 2 nodes\)"),
        ({"NTASKS": 2, "STEP_ID": 0}, 2, 1, "no fixed number a node"),
        ({"NTASKS": 4, "NTASKS_PER_NODE": 2, "NNODES": 2}, 2, 2, "without srun"),
    ],
)
def test_silent_mismatches_are_refused(slurm, variables, devices, nodes, message):
    slurm(JOB_ID=1, JOB_NAME="train", **variables)
    with pytest.raises(UserError, match=message):
        check_tasks(TrainerConfig(devices=devices, num_nodes=nodes))


def test_one_task_a_device_is_right(slurm):
    slurm(JOB_ID=1, NTASKS=4, NTASKS_PER_NODE=2, NNODES=2, JOB_NAME="train", STEP_ID=0)
    check_tasks(TrainerConfig(devices=2, num_nodes=2))


def test_torchrun_must_start_one_process_a_device(slurm, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    check_tasks(TrainerConfig(devices=2))
    with pytest.raises(UserError, match=r"torchrun started 2 processes, but .* is 1 x 1"):
        check_tasks(TrainerConfig())


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """A scontrol that writes down how it was called."""
    script = tmp_path / "scontrol"
    script.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/called\nexit ${{FAIL:-0}}\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path / "called"


def test_requeue_names_the_job_or_the_task_of_the_array(slurm, scontrol):
    slurm(JOB_ID=7)
    requeue()
    slurm(ARRAY_JOB_ID=5, ARRAY_TASK_ID=3)
    requeue()
    assert scontrol.read_text() == "requeue 7\nrequeue 5_3\n"


def test_requeue_ends_somewhere_and_says_if_it_fails(slurm, scontrol, monkeypatch):
    slurm(JOB_ID=7, RESTART_COUNT=3)
    monkeypatch.setenv("EDM2LITE_MAX_REQUEUES", "3")
    with pytest.raises(UserError, match="requeued 3 times already"):
        requeue()
    monkeypatch.setenv("EDM2LITE_MAX_REQUEUES", "4")
    monkeypatch.setenv("FAIL", "1")
    with pytest.raises(UserError, match="scontrol requeue 7 failed"):
        requeue()
