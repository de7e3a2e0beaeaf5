"""Small snapshots, and pipelines made of them."""

import warnings
from pathlib import Path

import pytest

from edm2lite.config import ExportConfig, ModelRef, WeightConfig
from edm2lite.snapshots.files import SnapshotInfo, save_snapshot
from tests.conftest import tiny_denoiser

with warnings.catch_warnings():  # what diffusers and transformers warn of while they are imported is theirs
    warnings.simplefilter("ignore")
    diffusers = pytest.importorskip("diffusers")
    from diffusers import StableDiffusionPipeline as _  # noqa: F401 - imports its dependencies now

CLASSES = 3


def write_snapshot(path: Path, seed: int, label_dim: int = CLASSES, **fields: object) -> Path:
    """A snapshot of a network with random weights, for 8x8 grey images."""
    net = tiny_denoiser(label_dim, seed)
    defaults = {"dataset": "digits", "nimg": 1024, "sigma_rel": 0.05, "encoder": {"name": "rgb", "scale": 192.0}}
    info = SnapshotInfo(
        img_resolution=8, img_channels=1, label_dim=label_dim, network=net.network, **{**defaults, **fields}
    )
    save_snapshot(path, net.state_dict(), info)
    return path


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> tuple[Path, Path]:
    """Files of a main model and a guide."""
    folder = tmp_path_factory.mktemp("models")
    return write_snapshot(folder / "main.safetensors", 1), write_snapshot(folder / "guide.safetensors", 2)


def export_config(main: Path, guide: Path | None, dest: Path, weight: float | None = None, **kwargs) -> ExportConfig:
    weights = {k: kwargs.pop(k) for k in ("interval", "schedule") if k in kwargs}
    return ExportConfig(
        main=ModelRef(path=str(main)), guide=ModelRef(path=guide and str(guide)),
        guidance=WeightConfig(weight=weight, **weights), dest=str(dest), **kwargs,
    )  # fmt: skip


@pytest.fixture(scope="session")
def folder(models, tmp_path_factory) -> Path:
    """An exported pipeline with a guide."""
    from edm2lite.interop.export import export

    dest = tmp_path_factory.mktemp("exported") / "digits"
    export(export_config(*models, dest, weight=1.8))
    return dest


@pytest.fixture
def pipe(folder):
    """That pipeline, loaded."""
    return load(folder)


def load(folder: Path, **kwargs):
    from edm2lite.interop import EDM2Pipeline

    pipe = EDM2Pipeline.from_pretrained(folder, **kwargs)
    pipe.set_progress_bar_config(disable=True)
    return pipe
