"""Snapshot files: round trip, atomic writes, errors for damaged or foreign files."""

import os

import pytest
import torch
from safetensors.torch import save_file

from edm2lite.config import NetworkConfig, Nimg
from edm2lite.errors import UserError
from edm2lite.snapshots.files import SnapshotInfo, load_weights, read_info, read_metadata, read_tensors, save_snapshot

INFO = SnapshotInfo(
    img_resolution=8, img_channels=1, label_dim=3, nimg=Nimg("128Mi"), sigma_rel=0.05, dataset="digits",
    network=NetworkConfig(model_channels=8, channel_mult=(1, 2), num_blocks=1, attn_resolutions=(), clip_act=None),
    encoder={"name": "rgb", "scale": 192.0},
)  # fmt: skip


@pytest.fixture
def snapshot(tmp_path):
    torch.manual_seed(0)
    net = INFO.build()
    path = tmp_path / "a" / "x.safetensors"
    save_snapshot(path, net.state_dict(), INFO, sources="[1]")
    return net, path


def test_round_trip_is_exact(snapshot):
    net, path = snapshot
    assert read_info(path) == INFO
    assert read_metadata(path)["sources"] == "[1]" and read_metadata(path)["sigma_data"] == "0.5"
    loaded = load_weights(INFO, read_tensors(path), path)
    for name, tensor in net.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert not any(p.requires_grad for p in loaded.parameters())
    assert os.stat(path).st_mode & 0o044 == 0o044 & ~_umask(), "others may read it as the umask says"


def test_the_kind_is_written_and_where_it_is_absent_it_is_a_denoiser(snapshot, tmp_path):
    net, path = snapshot
    assert read_metadata(path)["kind"] == '"denoiser"'
    metadata = INFO.to_metadata()
    for kind, said in ((None, ""), ("segmenter", "choose one of: denoiser, classifier")):
        del metadata["kind"]
        metadata |= {} if kind is None else {"kind": f'"{kind}"'}
        save_file(net.state_dict(), tmp_path / "b.safetensors", metadata=metadata)
        if kind is None:
            assert read_info(tmp_path / "b.safetensors") == INFO
            metadata["kind"] = ""
        else:
            with pytest.raises(UserError, match=said):
                read_info(tmp_path / "b.safetensors")


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_an_interrupted_write_leaves_the_old_file(snapshot, monkeypatch):
    net, path = snapshot
    before = path.read_bytes()
    monkeypatch.setattr(
        "edm2lite.snapshots.files.save_file", lambda *a, **k: (_ for _ in ()).throw(OSError("disk full"))
    )
    with pytest.raises(OSError, match="disk full"):
        save_snapshot(path, net.state_dict(), INFO)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["x.safetensors"]


@pytest.mark.parametrize("cut", [0, 7, 100, 5000])
def test_truncated_files_are_named(snapshot, cut):
    _, path = snapshot
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"x\.safetensors is damaged"):
        read_info(path)


def test_missing_foreign_and_newer_files(tmp_path, snapshot):
    with pytest.raises(UserError, match="no such snapshot"):
        read_info(tmp_path / "absent.safetensors")
    save_file({"w": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(UserError, match="no snapshot of edm2lite"):
        read_info(tmp_path / "foreign.safetensors")
    save_file({"w": torch.zeros(2)}, tmp_path / "new.safetensors", INFO.to_metadata() | {"format_version": "99"})
    with pytest.raises(UserError, match="format 99; update"):
        read_info(tmp_path / "new.safetensors")


def test_weights_that_do_not_fit_are_refused(snapshot):
    _, path = snapshot
    with pytest.raises(UserError, match="do not fit the architecture"):
        load_weights(INFO, {"unet.out_gain": torch.zeros(1)}, path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("img_resolution", "{"),
        ("network", "3"),
        ("network", '{"model_chanels": 3}'),
        ("network", '{"model_channels": "many"}'),
        ("network", '{"model_channels": 0}'),
        ("encoder", '{"name": "vae", "vae": "somebody/elses-code"}'),
        ("encoder", '{"name": "jpeg"}'),
        ("nimg", '"a lot"'),
        ("encoder", "[" * 100_000),
    ],
)
def test_hostile_metadata_are_refused(tmp_path, key, value):
    save_file({"w": torch.zeros(2)}, tmp_path / "x.safetensors", INFO.to_metadata() | {key: value})
    with pytest.raises(UserError, match=r"x\.safetensors: its metadata describe no model"):
        read_info(tmp_path / "x.safetensors")


def test_a_file_cannot_ask_for_more_memory_than_it_has_tensors():
    huge = NetworkConfig(model_channels=10**6)
    info = SnapshotInfo(img_resolution=64, img_channels=4, label_dim=1000, network=huge)
    with pytest.raises(UserError, match="do not fit the architecture"):
        load_weights(info, {"unet.out_gain": torch.zeros(1)}, "huge.safetensors")


def test_a_wrong_bit_is_found(tmp_path):
    path = tmp_path / "a.safetensors"
    save_snapshot(path, INFO.build().state_dict(), INFO)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="differs from its checksum"):
        read_tensors(path)
