"""Beginning with the weights of another model."""

import pytest
import torch

from edm2lite.config import NetworkConfig
from edm2lite.errors import UserError
from edm2lite.network.denoiser import Denoiser
from edm2lite.snapshots.files import SnapshotInfo, read_info, save_snapshot
from edm2lite.snapshots.load import load_model
from edm2lite.training.initial import LABEL_LAYER, initialize
from tests.conftest import GOLDEN, TINY, TRAIN_OPTIONS, run_script, tiny_denoiser


@pytest.fixture
def snapshot(tmp_path):
    net = tiny_denoiser(label_dim=10)
    info = SnapshotInfo(img_resolution=8, img_channels=1, label_dim=10, network=TINY, licence="theirs")
    save_snapshot(tmp_path / "a.safetensors", net.state_dict(), info)
    return tmp_path / "a.safetensors"


def test_all_tensors_are_taken(snapshot, capsys):
    net = tiny_denoiser(label_dim=10, seed=5)
    assert initialize(net, str(snapshot)) == "theirs" and not capsys.readouterr().err
    source = load_model(snapshot).denoiser.state_dict()
    assert all(torch.equal(value, source[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("classes", [3, 0])
def test_a_label_layer_of_another_size_is_made_anew_and_said_so(classes, snapshot, capsys):
    net, fresh = (tiny_denoiser(label_dim=classes, seed=5) for _ in range(2))
    initialize(net, str(snapshot))
    if classes:
        assert "label layer is made anew (10 classes there, 3 here)" in capsys.readouterr().err
        assert torch.equal(net.state_dict()[LABEL_LAYER], fresh.state_dict()[LABEL_LAYER])
    source = load_model(snapshot).denoiser.state_dict()
    assert all(torch.equal(v, source[k]) for k, v in net.state_dict().items() if k != LABEL_LAYER)


def test_another_architecture_is_refused(snapshot):
    net = Denoiser(8, 1, 10, NetworkConfig(**{**TINY.__dict__, "model_channels": 16}))
    with pytest.raises(UserError, match=r"does not fit this network: .* is \[.*\] there and \[.*\] here"):
        initialize(net, str(snapshot))


def test_the_command_starts_from_a_published_file_and_keeps_its_licence(tmp_path, meta):
    """On patches, with 8 classes instead of 10. Learning rate 1e-9: the denoiser without a label stays that of the file."""
    pkl = GOLDEN / "snapshot-cond.pkl"
    source = load_model(pkl)
    run_dir, net = tmp_path / "run", source.info.network
    options = [
        f"--network.{k}={list(v) if isinstance(v, tuple) else v}" for k, v in net.__dict__.items() if v is not None
    ]
    done = run_script(
        "train.py", *TRAIN_OPTIONS, *options, "--data.name=patches", f"--run_dir={run_dir}",
        f"--init_from={pkl}", "--training.total_nimg=32",
        "--training.snapshot_nimg=32", "--training.checkpoint_nimg=32", "--training.ref_lr=1e-9",
    )  # fmt: skip
    assert done.returncode == 0 and "10 classes there, 8 here" in done.stderr, done.stderr
    assert read_info(next((run_dir / "snapshots").iterdir())).licence == source.info.licence != ""
    x, sigma = torch.randn(4, 3, 16, 16), torch.tensor([0.1, 0.5, 2.0, 10.0])
    torch.testing.assert_close(load_model(run_dir).denoiser(x, sigma), source.denoiser(x, sigma), rtol=1e-4, atol=1e-4)


def test_a_missing_model_is_refused_at_once(tmp_path):
    done = run_script("train.py", *TRAIN_OPTIONS, f"--run_dir={tmp_path / 'run'}", "--init_from=nowhere.pkl")
    assert done.returncode == 2 and "init_from model nowhere.pkl does not exist" in done.stderr
    assert not (tmp_path / "run").exists()
