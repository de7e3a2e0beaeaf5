"""manifest.json: what it says, and what it refuses."""

import json

import pytest
import torch

from edm2lite.config import GuidanceConfig, ModelRef
from edm2lite.errors import UserError
from edm2lite.files import create_json, sha256
from edm2lite.sampling.images import image_path
from edm2lite.sampling.write import sample
from tests.sampling.test_write import SAMPLER, config, files, images


def manifest_of(outdir):
    return json.loads((outdir / "manifest.json").read_text())


def test_it_says_who_made_the_images(tiny_run, tmp_path):
    out = tmp_path / "out"
    models = {
        "main": ModelRef(path=str(tiny_run), ema=0.07),
        "guide": ModelRef(path=str(tiny_run), nimg=80, ema=0.1, dropout=0.1),
        "guidance": GuidanceConfig(weight=1.5, interval=(0.1, 2)),
    }
    sample(config(tiny_run, out, "0-9", labels="balanced", **models))
    manifest = manifest_of(out)
    assert manifest["seeds"] == "0-9" and manifest["format"] == "png" and not manifest["latents"]
    assert manifest["status"] == "complete" and manifest["num_images"] == 10 == len(manifest["images_sha256"])
    assert manifest["images_sha256"]["3"] == sha256(image_path(out, 3))
    assert manifest["main"]["ema"] == 0.07 and manifest["main"]["nimg"] == 320
    assert manifest["guide"]["nimg"] == 80 and manifest["guide"]["weight"] == 1.5
    assert manifest["guide"]["degradations"] == {"dropout": 0.1}
    assert len(manifest["main"]["weights_sha256"]) == 64 and manifest["label"].startswith("balanced")
    assert manifest["sampler"]["num_steps"] == 5 and manifest["versions"]["torch"] == torch.__version__.split("+")[0]
    counts = manifest["network_evaluations"]
    assert counts["main"] == 9 and 0 < counts["guide"] < 9


def test_a_folder_with_other_images_is_refused_and_kept(tiny_run, tmp_path):
    out, guide = tmp_path / "out", ModelRef(path=str(tiny_run), nimg=80)
    guided = {"guide": guide, "guidance": GuidanceConfig(weight=2.0)}
    sample(config(tiny_run, out, "0-3", **guided))
    before = files(out)
    for changes, message in [
        ({"sampler": type(SAMPLER)(num_steps=6)}, r"sampler.num_steps \(5, now 6\)"),
        ({"label": 3}, "label"),
        ({"labels": "balanced"}, "label"),
        ({"batch_size": 7}, r"batch_size \(8, now 7\)"),
        ({"precision": "bf16"}, "precision"),
        ({"main": guide}, "main.*weights_sha256"),
        ({"guidance": GuidanceConfig(weight=2.5)}, r"guide.weight \(2.0, now 2.5\)"),
        ({"guide": ModelRef(path=str(tiny_run), nimg=80, input_noise=0.1)}, "guide.degradations.input_noise"),
        ({"guide": ModelRef(), "guidance": GuidanceConfig()}, "guide .*now null"),
    ]:
        with pytest.raises(UserError, match=f"holds images made with another .*{message}"):
            sample(config(tiny_run, out, "0-5", **guided | changes))
    with pytest.raises(UserError, match=r"with --format png, now it is zip; .*--format png"):
        sample(config(tiny_run, out, "0-5", format="zip", **guided))
    assert files(out) == before


def test_a_model_may_move(tiny_run, tmp_path):
    sample(config(tiny_run, tmp_path / "out", "0-3"))
    moved = tmp_path / "moved"
    moved.symlink_to(tiny_run)
    sample(config(moved, tmp_path / "out", "0-5"))
    assert len(images(tmp_path / "out")) == 6


def test_a_damaged_manifest_is_named(tiny_run, tmp_path):
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UserError, match=r"manifest.json is damaged"):
        sample(config(tiny_run, tmp_path))


def test_of_several_processes_one_creates_a_file(tmp_path):
    assert create_json(tmp_path / "a.json", 1) and not create_json(tmp_path / "a.json", 2)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"] and (tmp_path / "a.json").read_text() == "1\n"
