"""Jobs that wait for each other on a real SLURM: images in shards and their metrics, a table from nothing."""

import json

import pytest
import yaml

from edm2lite.config import DataConfig, ModelRef, RefConfig, SampleConfig, SamplerConfig
from edm2lite.evaluation.measure import compute_reference
from edm2lite.sampling.write import sample
from tests.slurm.cluster import submit
from tests.slurm.conftest import TABLE, TRAIN


def test_a_refused_job_names_those_before_it(cluster, project, tiny_run):
    options = {
        "EDM2LITE_GRES": "none",
        "EDM2LITE_SAMPLE_SBATCH": "--hold",
        "EDM2LITE_EVALUATE_SBATCH": "--partition=nix",
    }
    (project / "ref.npz").touch()
    command = ["submit.sh", "--ref=ref.npz", "--", f"--main.path={tiny_run}"]
    done = submit(*command, cwd=project, **cluster.env, **options)
    job = done.stdout.split()[0]
    cluster.run("scancel", job)
    assert done.returncode == 2 and "invalid partition" in done.stderr and f"submitted before: {job}" in done.stderr


def on_cluster(cluster, script, *arguments, cwd):
    """Submit on the test cluster; returns the job ids by name."""
    options = {f"EDM2LITE_{kind}_SBATCH": "--time=10 --cpus-per-task=1" for kind in ("TRAIN", "SAMPLE", "EVALUATE")}
    done = submit(script, *arguments, cwd=cwd, EDM2LITE_GRES="none", **options, **cluster.env)
    assert done.returncode == 0, done.stderr
    return {name: job for job, name in (line.split(maxsplit=1) for line in done.stdout.splitlines())}


@pytest.mark.slow
def test_shards_as_jobs_make_the_same_bytes_and_are_scored(cluster, tiny_run, tmp_path):
    compute_reference(RefConfig(data=DataConfig(name="digits"), out=str(tmp_path / "ref.npz")))
    sampling = [
        "--",
        f"--main.path={tiny_run}",
        "--outdir=out",
        "--seeds=0-10",
        "--batch_size=4",
        "--sampler.num_steps=4",
    ]
    options = ["--shards=2", "--ref=ref.npz", *sampling, "--device=cpu"]
    jobs = on_cluster(cluster, "submit.sh", *options, cwd=tmp_path)
    cluster.wait(jobs["metrics:out"], 90)
    alone = tmp_path / "alone"
    main, sampler = ModelRef(path=str(tiny_run)), SamplerConfig(num_steps=4)
    sample(SampleConfig(main=main, outdir=str(alone), seeds="0-10", batch_size=4, sampler=sampler, device="cpu"))
    images = lambda folder: {path.name: path.read_bytes() for path in folder.glob("0*/*.png")}  # noqa: E731
    assert images(tmp_path / "out") == images(alone) and len(images(alone)) == 11
    manifest, whole = (json.loads((tmp_path / d / "manifest.json").read_text()) for d in ("out", "alone"))
    assert manifest == whole and manifest["status"] == "complete"
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["num_images"] == 11


@pytest.mark.slow
def test_a_table_from_nothing(cluster, project):
    (project / "configs" / "small.yaml").write_text(yaml.safe_dump(TRAIN | {"run_dir": "runs/small"}))
    jobs = on_cluster(cluster, "submit_table.sh", "table.yaml", cwd=project)
    again = on_cluster(cluster, "submit_table.sh", "table.yaml", cwd=project)
    assert again["train:runs/main (was in the queue already)"] == jobs["train:runs/main"]
    cluster.run("scancel", *(again[name] for name in ("rows:runs/table", "table:runs/table")))
    cluster.wait(jobs["table:runs/table"], 240)
    table = (project / "runs" / "table" / "table.md").read_text()
    assert all(row["name"] in table for row in TABLE["rows"]) and "fresh seeds" in table
