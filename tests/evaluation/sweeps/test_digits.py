"""The real thing: two workers on trained models, one killed, then resumed."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from edm2lite.config import DataConfig, RefConfig
from edm2lite.evaluation.measure import compute_reference
from edm2lite.evaluation.tables.results import read_table
from tests.conftest import ROOT


def command(tiny_run, folder, *options):
    return [
        sys.executable, ROOT / "evaluate.py", "sweep", "--main.path", tiny_run, "--guide.path", tiny_run, "--guide.nimg=160",
        "--main_ema=[0.05,0.1]", "--guide_ema=[0.05,0.08,0.1]", "--weights=[1.5,2.0]", "--sampler.num_steps=3",
        "--batch_size=25", "--rungs=[25,100,200]", "--blocks=2", "--device=cpu", f"--ref={folder}/ref.npz",
        f"--outdir={folder}/out", f"--features={folder}/features", *options,
    ]  # fmt: skip


@pytest.mark.slow
def test_a_sweep_of_two_workers_is_killed_and_resumed(tiny_run, tmp_path):
    compute_reference(RefConfig(data=DataConfig(name="digits"), out=str(tmp_path / "ref.npz")))
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    journal, workers = tmp_path / "out" / "journal.log", tmp_path / "out" / "workers"
    with subprocess.Popen(
        command(tiny_run, tmp_path, "--devices=2"), env=env, stderr=subprocess.PIPE, text=True
    ) as both:
        deadline = time.monotonic() + 120
        while not journal.exists() or journal.read_text().count('"state":1') < 4:
            assert both.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        for worker in sorted(workers.iterdir()):
            os.kill(int(re.search(r"-(\d+)-\w+\.json$", worker.name)[1]), signal.SIGKILL)
        assert "2 of 2 processes ended early" in both.communicate(timeout=60)[1] and both.returncode == 2
    assert not (tmp_path / "out" / "table.json").exists()
    done = subprocess.run(
        command(tiny_run, tmp_path, "--devices=2"), env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    table = read_table(tmp_path / "out")
    search, fresh = (found.mean(table.first) for found in (table.best(True), table.confirmed[True]))
    printed = re.search(r"search score FD ([\d.]+) .*\(N = 2 x 200\), fresh seeds ([\d.]+) ", done.stdout)
    assert [float(number) for number in printed.groups()] == [round(search, 3), round(fresh, 3)]
    assert done.stdout.count("search grid: 12 points with 25 images") == 1
    assert (tmp_path / "out" / "heatmap-ema.png").stat().st_size > 5000
    other = subprocess.run(command(tiny_run, tmp_path, "--first_seed=7"), env=env, capture_output=True, text=True)
    assert other.returncode == 2 and "first_seed 0, now 7" in other.stderr and other.stderr.count("\n") == 1
