"""Beginning with the weights of another model."""

import pytest
import torch

from edm2lite.config import NetworkConfig
from edm2lite.errors import UserError
from edm2lite.network.denoiser import Denoiser
from edm2lite.snapshots.files import SnapshotInfo, read_info, save_snapshot
from edm2lite.snapshots.load import load_model
from edm2lite.training.initial import LABEL_LAYERS, initialize
from tests.conftest import GOLDEN, TINY, TRAIN_OPTIONS, run_script, tiny_denoiser

RGB = {"name": "rgb", "scale": 127.5}


@pytest.fixture
def snapshot(tmp_path):
    net = tiny_denoiser(label_dim=10)
    info = SnapshotInfo(img_resolution=8, img_channels=1, label_dim=10, network=TINY, licence="theirs")
    save_snapshot(tmp_path / "a.safetensors", net.state_dict(), info)
    return tmp_path / "a.safetensors"


def test_another_scaling_of_the_data_is_said(snapshot, capsys):
    initialize(tiny_denoiser(label_dim=10), str(snapshot), {"name": "rgb", "scale": 100.0})
    assert "'scale': 127.5}, these are by {'name': 'rgb', 'scale': 100.0}" in capsys.readouterr().err


def test_all_tensors_are_taken(snapshot, capsys):
    net = tiny_denoiser(label_dim=10, seed=5)
    assert initialize(net, str(snapshot), RGB) == "theirs" and not capsys.readouterr().err
    source = load_model(snapshot).denoiser.state_dict()
    assert all(torch.equal(value, source[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("classes", [3, 0])
def test_a_label_layer_of_another_size_is_made_anew_and_said_so(classes, snapshot, capsys):
    net, fresh = (tiny_denoiser(label_dim=classes, seed=5) for _ in range(2))
    initialize(net, str(snapshot), RGB)
    said = capsys.readouterr().err
    assert f"its label layer (10 classes) is {'made anew for 3 classes' if classes else 'left out'}" in said
    if classes:
        assert torch.equal(net.state_dict()[LABEL_LAYERS[0]], fresh.state_dict()[LABEL_LAYERS[0]])
    source = load_model(snapshot).denoiser.state_dict()
    assert all(torch.equal(v, source[k]) for k, v in net.state_dict().items() if k != LABEL_LAYERS[0])


@pytest.mark.parametrize(("name", "value"), [("model_channels", 16), ("clip_act", 16), ("sigma_data", 1.0)])
def test_another_architecture_is_refused_even_with_the_same_shapes(name, value, snapshot):
    net = Denoiser(8, 1, 10, NetworkConfig(**{**TINY.__dict__, name: value}))
    with pytest.raises(UserError, match=rf"network.{name} is {TINY.__dict__[name]} there and {value} here"):
        initialize(net, str(snapshot), RGB)


def test_other_data_are_refused(snapshot):
    with pytest.raises(UserError, match="the encoder is"):
        initialize(tiny_denoiser(label_dim=10), str(snapshot), {"name": "vae"})
    with pytest.raises(UserError, match=r"is \[8, 2, 3, 3\] there and \[8, 4, 3, 3\] here"):
        initialize(Denoiser(8, 3, 10, TINY), str(snapshot), RGB)


@pytest.mark.slow
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
    assert done.returncode == 0 and "10 classes) is made anew for 8" in done.stderr, done.stderr
    assert read_info(next((run_dir / "snapshots").iterdir())).licence == source.info.licence != ""
    x, sigma = torch.randn(4, 3, 16, 16), torch.tensor([0.1, 0.5, 2.0, 10.0])
    torch.testing.assert_close(load_model(run_dir).denoiser(x, sigma), source.denoiser(x, sigma), rtol=1e-4, atol=1e-4)


def test_a_missing_model_is_refused_at_once(tmp_path):
    done = run_script("train.py", *TRAIN_OPTIONS, f"--run_dir={tmp_path / 'run'}", "--init_from=nowhere.pkl")
    assert done.returncode == 2 and "init_from model nowhere.pkl does not exist" in done.stderr
    assert not (tmp_path / "run").exists()
