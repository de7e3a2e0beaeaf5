"""A sweep on SLURM: what is submitted, and two workers of an array that share one journal."""

import csv
import json
from collections import Counter

import pytest
import yaml

from edm2lite.config import DataConfig, RefConfig
from edm2lite.evaluation.measure import compute_reference
from tests.slurm.cluster import submit
from tests.slurm.test_pipelines import on_cluster
from tests.slurm.test_submit import dry_run

SWEEP = {
    "title": "Tiny", "outdir": "runs/sweep", "ref": "ref.npz", "device": "cpu", "sampler": {"num_steps": 3}, "batch_size": 8,
    "main_ema": [0.05, 0.1], "guide_ema": [0.05, 0.1], "weights": [1.5, 2.0], "rungs": [6, 12], "blocks": 2,
}  # fmt: skip


@pytest.fixture
def sweep(tmp_path, tiny_run):
    """A working directory with a sweep over a small run."""
    models = {"main": {"path": str(tiny_run)}, "guide": {"path": str(tiny_run), "nimg": 160}}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(SWEEP | models))
    return tmp_path


def test_a_sweep_needs_its_trainings_and_reference_then_workers_then_the_outcome(project):
    models = {"main": {"path": "runs/main"}, "guide": {"path": "runs/small"}}
    (project / "sweep.yaml").write_text(yaml.safe_dump(SWEEP | models))
    jobs = dry_run("submit_sweep.sh", "3", "sweep.yaml", "--blocks=3", cwd=project, EDM2LITE_AT_ONCE="2")
    before = ["train:runs/main", "train:runs/small", "ref:ref.npz"]
    assert list(jobs) == [*before, "workers:runs/sweep", "sweep:runs/sweep"]
    options, script, arguments = jobs["workers:runs/sweep"]
    assert (script, arguments) == ("evaluate.sbatch", ["sweep", "-c", "sweep.yaml", "--blocks=3"])
    assert options["array"] == "0-2%2" and options["dependency"] == "afterok:" + ":".join(
        f"<{name}>" for name in before
    )
    assert options["signal"] == "B:USR1@180"
    options, script, arguments = jobs["sweep:runs/sweep"]
    assert options["dependency"] == "afterok:<workers:runs/sweep>" and "array" not in options
    assert arguments == ["sweep", "-c", "sweep.yaml", "--blocks=3"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["0", "sweep.yaml"], "number of workers is 0"),
        (["2", "sweep.yaml", "--devices=2"], "devices 2"),
        (["2", "none.yaml"], "none.yaml"),
        (["two", "sweep.yaml"], "invalid int value: 'two'"),
        (["2", "sweep.yaml", "--rung=[2]"], "did you mean"),
        (["2", "sweep.yaml", "--guide.path=runs/nix"], "the run_dir runs/nix"),
    ],
)
def test_what_cannot_be_submitted_is_one_line(sweep, arguments, message):
    done = submit("submit_sweep.sh", *arguments, "--dry-run", cwd=sweep)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1, done.stderr


@pytest.mark.slow
def test_two_workers_of_an_array_share_one_journal(cluster, sweep):
    compute_reference(RefConfig(data=DataConfig(name="digits"), out=str(sweep / "ref.npz")))
    jobs = on_cluster(cluster, "submit_sweep.sh", "2", "sweep.yaml", cwd=sweep)
    cluster.wait(jobs["sweep:runs/sweep"], 180)
    out = sweep / "runs" / "sweep"
    trials = list(csv.DictReader((out / "sweep.csv").read_text().splitlines()))
    scored = Counter((t["row"], t["images"], t["blocks"], t["first_seed"]) for t in trials if t["state"] == "complete")
    assert scored["sweep", "6", "1", "0"] == 8 and scored["sweep", "12", "2", "24"] == 1
    points = [tuple(list(t.values())[:8]) for t in trials if t["state"] == "complete"]
    assert len(set(points)) == len(points), "no point twice"
    assert len(json.loads((out / "table.json").read_text())["confirmed"]) == 2
    assert "fresh seeds" in (out / "sweep.md").read_text() and (out / "heatmap-ema.svg").exists()
