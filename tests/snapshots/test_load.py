"""load_denoiser: published files by the numbers, run directories by time and EMA length."""

import json

import pytest
import torch

from edm2lite import load_denoiser, posthoc_coefficients
from edm2lite.config import ModelRef, Nimg
from edm2lite.errors import UserError
from edm2lite.snapshots.classifiers import load_classifier
from edm2lite.snapshots.files import read_metadata, read_tensors
from edm2lite.snapshots.index import stored_snapshots
from edm2lite.snapshots.load import load_model
from tests.conftest import GOLDEN
from tests.sampling.test_classified import save_classifier


@pytest.mark.parametrize("name", ["cond", "uncond", "guide"])
def test_published_snapshots(name, golden):
    net, g, expected = load_denoiser(GOLDEN / f"snapshot-{name}.pkl"), golden("network"), golden("snapshot_expected")
    labels = g[f"{name}/labels"].argmax(1) if net.label_dim else None
    out = net(g[f"{name}/x"], g[f"{name}/sigma"], labels)
    scale = expected[f"{name}/denoised"].abs().max()
    assert (out - expected[f"{name}/denoised"]).abs().max() < 1e-5 * scale
    torch.testing.assert_close(net.logvar(g[f"{name}/sigma"]), expected[f"{name}/logvar"], rtol=1e-5, atol=1e-5)


def test_published_snapshots_keep_their_licence_and_encoder():
    model = load_model(GOLDEN / "snapshot-cond.pkl")
    assert "NVIDIA" in model.info.licence and model.info.encoder == {"name": "rgb", "scale": 127.5}


def test_defaults_are_the_last_time_and_the_shortest_length(tiny_run):
    model = load_model(tiny_run)
    assert (model.info.nimg, model.info.sigma_rel) == (320, 0.05)
    net = load_denoiser(tiny_run)
    assert (net.img_resolution, net.img_channels, net.label_dim, net.sigma_data) == (8, 1, 10, 0.5)


def test_stored_snapshots_are_read_as_they_are(tiny_run):
    for nimg in (80, "240"):
        for ema in (0.05, 0.1):
            stored = read_tensors(tiny_run / "snapshots" / f"{nimg}-ema{ema}.safetensors")
            for name, tensor in load_denoiser(tiny_run, nimg=nimg, ema=ema).state_dict().items():
                assert torch.equal(tensor, stored[name])


def test_any_length_is_reconstructed_from_what_was_there_by_then_and_cached(tiny_run):
    net = load_denoiser(tiny_run, nimg=240, ema=0.07)
    stored = [s for s in stored_snapshots(tiny_run) if s.nimg <= 240]
    assert len(stored) == 6
    x = posthoc_coefficients([s.nimg for s in stored], [s.sigma_rel for s in stored], [240], [0.07])[:, 0]
    tensors = [read_tensors(s.path) for s in stored]
    for name, tensor in net.state_dict().items():
        expected = sum(c * t[name].double() for c, t in zip(x, tensors, strict=True))
        torch.testing.assert_close(tensor.double(), expected, rtol=1e-4, atol=1e-5)
    cached = tiny_run / "posthoc" / "240-ema0.07.safetensors"
    sources = json.loads(read_metadata(cached)["sources"])
    assert [name for name, *_ in sources] == [s.path.name for s in stored]
    written = cached.stat().st_mtime_ns
    load_denoiser(tiny_run, nimg=240, ema=0.07)
    assert cached.stat().st_mtime_ns == written, "the second time it is read from the cache"


def test_the_cache_is_made_again_when_a_source_changed(tiny_run, tmp_path):
    import os
    import shutil

    run = tmp_path / "run"
    shutil.copytree(tiny_run / "snapshots", run / "snapshots")
    load_denoiser(run, ema=0.08)
    first = (run / "posthoc" / "320-ema0.08.safetensors").stat().st_mtime_ns
    os.utime(run / "snapshots" / "80-ema0.1.safetensors", ns=(1, 1))
    load_denoiser(run, ema=0.08)
    assert (run / "posthoc" / "320-ema0.08.safetensors").stat().st_mtime_ns != first


def test_errors_say_what_there_is(tiny_run, tmp_path):
    file = tiny_run / "snapshots" / "320-ema0.05.safetensors"
    for arguments, message in [
        ({"path": tiny_run, "nimg": 100}, "no snapshot at nimg 100; it has 80, 160, 240, 320"),
        ({"path": tiny_run, "ema": 0.5}, "EMA length sigma_rel is 0.5"),
        ({"path": tiny_run, "nimg": "8Pi"}, "not a number of images"),
        ({"path": tmp_path / "absent"}, "does not exist"),
        ({"path": tmp_path}, "holds no snapshots"),
        ({"path": file, "ema": 0.1}, "one snapshot with ema 0.05, but ema 0.1"),
    ]:
        with pytest.raises(UserError, match=message):
            load_denoiser(**arguments)
    assert load_denoiser(file, nimg=320, ema=0.05).img_resolution == 8


def test_classifiers_are_named_in_the_same_way(tmp_path):
    file = tmp_path / "snapshots" / "1Ki-ema0.05.safetensors"
    net = save_classifier(file, nimg=Nimg("1Ki"), sigma_rel=0.05)
    for ref in (
        ModelRef(path=str(tmp_path)),
        ModelRef(path=str(file)),
        ModelRef(path=str(file), nimg=Nimg(1024), ema=0.05),
    ):
        loaded = load_classifier(ref)
        assert (loaded.path, loaded.info.nimg, loaded.label_dim) == (file, 1024, 10)
        for name, tensor in loaded.classifier.state_dict().items():
            assert torch.equal(tensor, net.state_dict()[name])
    for ref, message in [
        (ModelRef(path=str(tmp_path / "absent")), "^classifier .*absent does not exist"),
        (ModelRef(path=str(file), nimg=Nimg(2048)), "one snapshot with nimg 1Ki, but nimg 2Ki was asked for"),
        (ModelRef(path=str(GOLDEN / "snapshot-cond.pkl")), "holds a denoiser, but a classifier is needed"),
    ]:
        with pytest.raises(UserError, match=message):
            load_classifier(ref)
