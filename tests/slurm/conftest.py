"""One cluster for all tests here, and a working directory with configurations."""

import shutil
import subprocess

import pytest
import yaml

from tests.slurm.cluster import SLURM, Cluster

TRAIN = {
    "data": {"name": "digits"},
    "network": {"model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": []},
    "training": {"total_nimg": 64, "batch_size": 16, "rampup_nimg": 0, "snapshot_nimg": 32, "checkpoint_nimg": 64},
    "logging": {"every_nimg": 16, "progress_bar": False},
}
TABLE = {
    "title": "Tiny", "outdir": "runs/table", "ref": "runs/ref.npz", "main": {"path": "runs/main"}, "device": "cpu",
    "sampler": {"num_steps": 3}, "num_images": 8, "blocks": 2, "batch_size": 8,
    "rows": [
        {"name": "alone"},
        {"name": "earlier", "guide": {"path": "runs/main", "nimg": 32}, "weights": [1.5]},
        {"name": "smaller", "guide": {"path": "runs/small"}, "weights": [1.5]},
    ],
}  # fmt: skip


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    if not shutil.which("slurmctld"):
        pytest.skip("slurmctld is not installed; apt-get install slurmctld slurmd slurm-client munge")
    root = tmp_path_factory.mktemp("slurm") / "cluster"
    started = subprocess.run([SLURM / "local" / "start.sh", root], capture_output=True, text=True, timeout=60)
    assert started.returncode == 0, started.stderr
    yield Cluster(root, started.stdout)
    subprocess.run([SLURM / "local" / "stop.sh", root], check=True, timeout=90)


@pytest.fixture
def project(tmp_path):
    """A working directory whose configs/ train the models of a table: the main one on two CPUs, the guide on four GPUs."""
    (tmp_path / "configs").mkdir()
    trainers = {"main": {"accelerator": "cpu", "devices": 1, "num_nodes": 2}, "small": {"devices": 2, "num_nodes": 2}}
    for name, trainer in trainers.items():
        config = {"run_dir": f"runs/{name}", "trainer": trainer} | TRAIN
        (tmp_path / "configs" / f"{name}.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "table.yaml").write_text(yaml.safe_dump(TABLE))
    return tmp_path
