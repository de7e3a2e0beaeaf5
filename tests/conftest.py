"""Shared fixtures: golden numbers, small models, a small trained run, the command line."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from edm2lite.config import NetworkConfig
from edm2lite.network.denoiser import Denoiser

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "golden"
TINY = NetworkConfig(model_channels=8, channel_mult=(1, 2), num_blocks=1, attn_resolutions=(4,), channels_per_head=8)


@pytest.fixture(scope="session")
def meta() -> dict[str, Any]:
    return json.loads((GOLDEN / "meta.json").read_text())


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict[str, torch.Tensor]]:
    return lambda name: load_file(GOLDEN / f"{name}.safetensors")


@pytest.fixture
def published_net(meta, golden) -> Callable[[str], Denoiser]:
    """One of the golden networks, with its raw weights."""

    def make(name: str) -> Denoiser:
        arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in meta["nets"][name].items()}
        shape = [arguments.pop(k) for k in ("img_resolution", "img_channels", "label_dim")]
        net = Denoiser(*shape, NetworkConfig(**arguments))
        prefix = f"{name}/state/"
        net.load_state_dict({k.removeprefix(prefix): v for k, v in golden("network").items() if k.startswith(prefix)})
        return net.requires_grad_(False)

    return make


def tiny_denoiser(label_dim: int = 0, seed: int = 0, **changes: Any) -> Denoiser:
    """A small denoiser for 8x8 grey images whose gains are not zero."""
    torch.manual_seed(seed)
    net = Denoiser(8, 1, label_dim, NetworkConfig(**{**TINY.__dict__, **changes}))
    for name, parameter in net.named_parameters():
        if name.endswith("gain"):
            parameter.data.fill_(0.7)
    return net.requires_grad_(False)


TRAIN_OPTIONS = [
    "--data.name=digits",
    "--network.model_channels=8",
    "--network.channel_mult=[1,2]",
    "--network.num_blocks=1",
    "--network.attn_resolutions=[]",
    "--training.batch_size=16",
    "--training.rampup_nimg=3200",
    "--training.ref_batches=20",
    "--trainer.accelerator=cpu",
]


@pytest.fixture(scope="session")
def left_by_the_dead():
    """Name that `atomic_path` gives to the temporary file of a process of this machine that has ended, for any file."""
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        pass
    return lambda name: f".{name}.{os.uname().nodename}.{dead.pid}.tmp"


def run_script(*command: object, timeout: float = 200, **env: str) -> subprocess.CompletedProcess[str]:
    """Run one of the scripts as a user would, in one thread."""
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", **env}, capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> Path:
    """A run of 20 steps on digits with labels, snapshots every 5 steps."""
    run_dir = tmp_path_factory.mktemp("runs") / "tiny"
    options = ["--training.total_nimg=320", "--training.snapshot_nimg=80", "--training.checkpoint_nimg=160"]
    done = run_script("train.py", *TRAIN_OPTIONS, *options, "--logging.every_nimg=32", f"--run_dir={run_dir}")
    assert done.returncode == 0, done.stderr
    return run_dir


@pytest.fixture(scope="session", autouse=True)
def caches(tmp_path_factory) -> None:
    """Detectors trained by tests go to a folder of this process and the scripts it starts, compiled code to one for all."""
    os.environ["EDM2LITE_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    base = tmp_path_factory.getbasetemp()
    every = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(every / "compiled")


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> None:
    """As in a terminal; a shell starts what goes on in its background without."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Tests of a file run in one process, for they share fixtures that are slow to make; so do all that need SLURM.

    By a scheduler of our own, for xdist's --dist loadgroup groups nothing with pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "slurm" if nodeid.startswith("tests/slurm/") else nodeid.split("::", 1)[0]

    config.option.loadscopereorder = False  # keep the order below
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest files first, so that no process is left with one of them at the end."""
    items.sort(key=lambda item: item.path.parent.name not in ("training", "slurm"))
