"""`edm2lite snapshot info`: snapshots, run directories, NVIDIA's files."""

import hashlib
import json
from dataclasses import asdict

import pytest

from edm2lite.cli import SNAPSHOT, main
from edm2lite.config import NetworkConfig, Nimg, plain
from edm2lite.errors import UserError
from edm2lite.snapshots.describe import as_text, describe
from edm2lite.snapshots.files import SnapshotInfo, save_snapshot
from tests.conftest import GOLDEN, TINY, tiny_denoiser


@pytest.fixture
def run_dir(tmp_path):
    """A run with two times and two EMA lengths."""
    net = tiny_denoiser(3)
    info = SnapshotInfo(img_resolution=8, img_channels=1, label_dim=3, network=TINY, dataset="digits")
    for nimg, ema in (("512", 0.1), ("512", 0.05), ("2Ki", 0.1), ("2Ki", 0.05)):
        path = tmp_path / "snapshots" / f"{nimg}-ema{ema}.safetensors"
        save_snapshot(path, net.state_dict(), info.at(Nimg(nimg), ema))
    return tmp_path


def test_a_run_directory(run_dir):
    found = describe(str(run_dir))
    path = run_dir / "snapshots" / "2Ki-ema0.05.safetensors"
    assert found["file"] == str(path) and found["type"] == "run directory"
    assert found["stored"] == {"512": [0.05, 0.1], "2Ki": [0.05, 0.1]}
    assert (found["nimg"], found["ema"], found["dataset"]) == (2048, 0.05, "digits")
    assert found["parameters"] == sum(p.numel() for p in tiny_denoiser(3).parameters())
    assert found["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest() and found["bytes"] == path.stat().st_size
    other = describe(str(run_dir), Nimg(512), 0.1)
    assert (other["nimg"], other["ema"]) == (512, 0.1)
    with pytest.raises(UserError, match=r"stores no EMA length 0\.07 at nimg 512; it stores 0\.05, 0\.1"):
        describe(str(run_dir), Nimg(512), 0.07)
    assert not (run_dir / "posthoc").exists()


def test_one_file_of_which_only_the_header_is_read(run_dir):
    path = run_dir / "snapshots" / "512-ema0.1.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000] + bytes(1000))  # other weights than their checksums say
    found = describe(str(path))
    assert found["ema"] == 0.1 and found["type"] == "snapshot" and "stored" not in found
    with pytest.raises(UserError, match="is one snapshot with nimg 512, but nimg 2Ki was asked for; leave nimg out"):
        describe(str(path), Nimg("2Ki"))


def test_nvidia():
    found = describe(str(GOLDEN / "snapshot-cond.pkl"))
    assert found["type"] == "NVIDIA snapshot" and "CC BY-NC-SA" in found["licence"]
    assert (found["img_resolution"], found["img_channels"], found["label_dim"]) == (16, 3, 10)
    with pytest.raises(UserError, match=r"is one snapshot with ema unknown, but ema 0\.1 was asked for"):
        describe(str(GOLDEN / "snapshot-cond.pkl"), ema=0.1)
    assert found["nimg"] is None and found["architecture"]["model_channels"] == 32


def test_of_the_architecture_the_size_is_always_shown(run_dir):
    text = as_text(describe(str(run_dir)) | {"architecture": plain(asdict(NetworkConfig()))})
    assert "model_channels 192, channel_mult [1, 2, 3, 4], num_blocks 3, attn_resolutions [16, 8]\n" in text


def test_the_command(run_dir, capsys):
    def info(*argv):
        status = main(SNAPSHOT, "edm2lite snapshot", ["info", *argv])
        return status, *capsys.readouterr()

    status, text, _ = info(f"--path={run_dir}")
    lines = text.splitlines()
    assert status == 0 and len({len(line) - len(line[12:].lstrip()) for line in lines}) == 1, "aligned"
    assert "4 snapshots at 2 times: 512 ... 2Ki; EMA lengths 0.05, 0.1" in text
    assert "model_channels 8, channel_mult [1, 2], num_blocks 1, attn_resolutions [4], channels_per_head 8\n" in text
    assert "2Ki (2,048 images)" in text
    status, text, _ = info(f"--path={run_dir}", "--json=true")
    assert status == 0 and json.loads(text) == describe(str(run_dir))
    assert (
        NetworkConfig(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(text)["architecture"].items()}
        )
        == TINY
    )
    status, _, error = info("--path=nowhere")
    assert status == 2 and error.startswith("error: model nowhere does not exist")
    assert info()[0] == 2
