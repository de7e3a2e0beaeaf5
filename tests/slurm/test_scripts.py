"""The batch scripts on a real SLURM, without torch: a stand-in for Python shows what they run and when they requeue."""

import pytest

from tests.slurm.cluster import SLURM

ONE_CPU = ("--cpus-per-task=1", "--time=10", "--output=job.out")


@pytest.fixture
def stand_in(tmp_path):
    """Prints its arguments; at the first start of a job it then waits to be interrupted if there is a file `wait`."""
    path = tmp_path / "python"
    path.write_text(
        '#!/bin/bash\necho "run ${SLURM_RESTART_COUNT:-0}: $*"\n'
        "if [[ -e wait && ${SLURM_RESTART_COUNT:-0} == 0 ]]; then\n"
        '  if [[ $* == *train* ]]; then trap "echo saved; exit 143" TERM; fi\n'
        "  for ((i = 0; i < 600; i++)); do sleep 0.1; done\nfi\n"
    )
    path.chmod(0o755)
    return str(path)


def start_waiting(cluster, tmp_path, stand_in, *command, **env):
    """A job that waits to be interrupted."""
    (tmp_path / "wait").touch()
    job = cluster.sbatch(*ONE_CPU, *command, cwd=tmp_path, EDM2LITE_PYTHON=stand_in, EDM2LITE_SLURM=str(SLURM), **env)
    log = tmp_path / "job.out"
    cluster.wait_for(lambda: log.exists() and "run 0" in log.read_text(), "the job to run", 20)
    return job


def log_of_requeued(cluster, tmp_path, job):
    """Lines of the log of a job that is being requeued, once it has run again."""
    cluster.wait_for(lambda: cluster.show(job)[0]["Restarts"] == "1", "the job to be requeued", 20)
    cluster.start_soon(job)
    cluster.wait(job, 30)
    return (tmp_path / "job.out").read_text().splitlines()


def test_training_gets_the_layout_of_the_job(cluster, tmp_path, stand_in):
    job = cluster.sbatch(
        *ONE_CPU, "--nodes=2", "--ntasks-per-node=2", SLURM / "train.sbatch", "some.yaml", "--training.seed=1",
        cwd=tmp_path, EDM2LITE_PYTHON=stand_in, EDM2LITE_SLURM=str(SLURM),
    )  # fmt: skip
    cluster.wait(job, 20)
    command = "-m edm2lite train -c some.yaml --training.seed=1 --trainer.devices=2 --trainer.num_nodes=2"
    assert (tmp_path / "job.out").read_text().splitlines() == [f"run 0: {command}"] * 4


def test_training_preempted_by_sigterm_goes_back_to_the_queue(cluster, tmp_path, stand_in):
    train = ("--nodes=2", "--ntasks-per-node=1", "--signal=TERM@60", SLURM / "train.sbatch", "some.yaml")
    job = start_waiting(cluster, tmp_path, stand_in, *train)
    urgent = ("--nodes=2", "--cpus-per-task=4", "--partition=high", "--output=urgent.out", "--wrap=true")
    cluster.wait(cluster.sbatch(*urgent, cwd=tmp_path), 20)
    lines = log_of_requeued(cluster, tmp_path, job)
    assert "saved" in lines and lines[-1].startswith("run 1: -m edm2lite train -c some.yaml")


def test_training_that_ends_in_any_other_way_does_not(cluster, tmp_path, stand_in):
    train = ("--ntasks-per-node=1", SLURM / "train.sbatch", "some.yaml")
    job = start_waiting(cluster, tmp_path, stand_in, *train)
    cluster.run("scancel", "--signal=TERM", job)  # what srun does, too, to the ranks beside one that crashed
    assert cluster.wait(job, 20, "FAILED")["Restarts"] == "0"
    assert "saved" in (tmp_path / "job.out").read_text()


def test_evaluation_goes_back_to_the_queue_when_time_is_up(cluster, tmp_path, stand_in):
    job = start_waiting(cluster, tmp_path, stand_in, SLURM / "evaluate.sbatch", "table", "-c", "t.yaml")
    cluster.run("scancel", "--signal=USR1", "--batch", job)
    lines = log_of_requeued(cluster, tmp_path, job)
    assert lines[-1] == "run 1: -m edm2lite evaluate table -c t.yaml"


def test_arrays_pass_shards_and_rows(cluster, tmp_path, stand_in):
    env = {"EDM2LITE_PYTHON": stand_in, "EDM2LITE_SLURM": str(SLURM)}
    options = ("--cpus-per-task=1", "--array=0-2", "--output=%x-%a.out")
    sample = cluster.sbatch(*options, SLURM / "sample.sbatch", "--seeds=0-9", cwd=tmp_path, **env)
    rows = cluster.sbatch(*options, SLURM / "evaluate.sbatch", "table", "--only_row={task}", cwd=tmp_path, **env)
    cluster.wait(sample, 20)
    cluster.wait(rows, 20)
    for i in range(3):
        assert (tmp_path / f"sample-{i}.out").read_text() == f"run 0: -m edm2lite sample --seeds=0-9 --shard={i}/3\n"
        assert (tmp_path / f"evaluate-{i}.out").read_text() == f"run 0: -m edm2lite evaluate table --only_row={i}\n"


BAD = {
    "train without a configuration": (["train.sbatch"], "no configuration was named"),
    "array with gaps": (["--array=1-2", "sample.sbatch"], "the array is 1-2; it must begin at 0"),
    "submitted from elsewhere": (["evaluate.sbatch"], "set EDM2LITE_SLURM"),
}


@pytest.mark.parametrize("name", BAD)
def test_mistakes_end_with_one_line_and_status_2(name, cluster, tmp_path):
    (*options, script), message = BAD[name]
    env = {} if "elsewhere" in name else {"EDM2LITE_SLURM": str(SLURM)}
    job = cluster.sbatch(*ONE_CPU, "--ntasks-per-node=1", *options, SLURM / script, cwd=tmp_path, **env)
    assert cluster.wait(job, 20, "FAILED")["ExitCode"] == "2:0"
    lines = {line for line in (tmp_path / "job.out").read_text().splitlines() if "error" in line}
    assert len(lines) == 1 and message in lines.pop()


def test_a_hopeless_job_is_not_requeued_for_ever(cluster, tmp_path, stand_in):
    evaluate = (SLURM / "evaluate.sbatch", "table")
    job = start_waiting(cluster, tmp_path, stand_in, *evaluate, EDM2LITE_MAX_REQUEUES="0")
    cluster.run("scancel", "--signal=USR1", "--batch", job)
    cluster.wait(job, 20, "FAILED")
    assert "was requeued 0 times already (EDM2LITE_MAX_REQUEUES)" in (tmp_path / "job.out").read_text()
