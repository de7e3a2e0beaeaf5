"""Half precision features are used where they leave the Frechet distance as it is, and nowhere else."""

import copy
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from edm2lite.config import DataConfig, MetricsConfig, RefConfig
from edm2lite.data.digits import load_digits
from edm2lite.errors import UserError
from edm2lite.evaluation import meter as meter_module
from edm2lite.evaluation.detectors.small import load_classifier
from edm2lite.evaluation.measure import compute_metrics, compute_reference
from edm2lite.evaluation.proof import Proof
from edm2lite.evaluation.sources import FileSource
from edm2lite.files import digest
from edm2lite.sampling.images import image_path, write_png


def proof(fp32, half):
    return Proof(detector="net", precision="bf16", images=2048, fp32=fp32, half=half)


def test_a_change_is_relative_to_the_smallest_distance():
    assert proof(20, 20.01).change() == pytest.approx(5e-4) and proof(20, 19.99).change() == pytest.approx(5e-4)
    proof(20, 20.01).check(30)
    with pytest.raises(UserError, match=r"first 2048 images from 20 to 20\.01, by 5.0e-03 of 2; at most 0.001 .*fp32"):
        proof(20, 20.01).check(30, 2)
    proof(0, 0).check()
    for fp32, half in ((0, 1e-9), (1, math.nan), (1, math.inf), (math.nan, 1), (1, 1.0011)):
        with pytest.raises(UserError, match="use --detector_precision fp32"):
            proof(fp32, half).check()


@pytest.fixture(scope="module")
def ref(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("ref") / "digits.npz")
    compute_reference(RefConfig(data=DataConfig(name="digits"), out=path))
    return path


@pytest.fixture(scope="module")
def far(tmp_path_factory):
    """Images whose distance rounding does not change much: noise."""
    folder = tmp_path_factory.mktemp("far")
    for seed, image in enumerate(np.random.default_rng(0).integers(0, 256, (70, 1, 8, 8), np.uint8)):
        write_png(image_path(folder, seed), image)
    return str(folder)


def config(ref, images, folder, precision="fp16", **changes):
    changes = {"metrics": ("fd", "kd"), "batch_size": 16} | changes
    return MetricsConfig(ref=ref, images=images, features=str(folder), detector_precision=precision, **changes)


def value(result, metric="fd"):
    return result["metrics"][metric]["mean"]


def test_proven_features_are_used_and_the_result_says_what_they_change(ref, far, tmp_path, monkeypatch, capsys):
    whole = compute_metrics(config(ref, far, tmp_path / "whole", "fp32"))
    out = tmp_path / "result.json"
    result = compute_metrics(config(ref, far, tmp_path, out=str(out)))
    (told,) = json.loads(out.read_text())["half_precision"]
    assert (
        "fp16 features of digits-classifier-v1 change the Frechet distance of the first 70 images"
        in capsys.readouterr().out
    )
    assert 0 < told["change"] <= 1e-3 and told["images"] == 70 and "half_precision" not in whole
    assert told["fp32"] == pytest.approx(value(whole), rel=1e-6) and told["half"] == pytest.approx(
        value(result), rel=1e-6
    )
    assert value(result) != value(whole) and value(result, "kd") == pytest.approx(value(whole, "kd"), rel=1e-2)
    assert result["protocol"]["fd"]["detector"] == whole["protocol"]["fd"]["detector"] | {"precision": "fp16"}
    monkeypatch.setattr(FileSource, "batches", lambda *_: pytest.fail("all features are there"))
    monkeypatch.setattr(meter_module.Meter, "_make_proof", lambda *_: pytest.fail("the proof is there"))
    assert compute_metrics(config(ref, far, tmp_path, metrics=("fd", "coverage")))["half_precision"] == [told]
    assert value(compute_metrics(config(ref, far, tmp_path, "fp32"))) == value(whole), "of the proof's own features"


def test_both_precisions_are_computed_of_the_first_images_alone(ref, far, tmp_path, monkeypatch):
    monkeypatch.setattr(meter_module, "IMAGES", 20)
    compute_metrics(config(ref, far, tmp_path, num_images=50))
    meter = meter_module.Meter(config(ref, far, tmp_path), "fp16")
    source = FileSource(meter_module.open_images(far), 16)
    store = meter.store(source)
    counts = {d.precision: len(store.held(d)) for d in (meter._full["digits"], meter._half["digits"])}
    assert counts == {"fp32": 20, "fp16": 50}


def test_features_that_change_the_distance_are_refused_before_the_rest_is_computed(ref, tmp_path, monkeypatch):
    for seed, image in enumerate(load_digits().images[:600:2]):
        write_png(image_path(tmp_path / "near", seed), image)
    monkeypatch.setattr(meter_module, "IMAGES", 280)
    cfg = config(ref, str(tmp_path / "near"), tmp_path / "features", "bf16")
    for _ in range(2):
        with pytest.raises(UserError, match=r"bf16 features .* first 280 images from [\d.]+ to [\d.]+.*precision fp32"):
            compute_metrics(cfg)
    meter = meter_module.Meter(cfg, "bf16")
    assert len(meter.lacking(FileSource(meter_module.open_images(cfg.images), 16), range(300), range(300))) == 20


def test_overflow_is_told_with_the_way_out(ref, far, tmp_path, monkeypatch):
    large = copy.deepcopy(load_classifier("digits"))
    large.conv1.weight.mul_(1e5)
    large.hidden.weight.mul_(1e-5)
    monkeypatch.setattr(meter_module, "load_detector", lambda *_: large)
    with pytest.raises(
        UserError, match="digits-classifier-v1 in fp16 makes features that are not finite of image 0; use"
    ):
        compute_metrics(config(ref, far, tmp_path))
    compute_metrics(config(ref, far, tmp_path, "fp32"))


def test_processes_prove_together(ref, far, tmp_path, capsys):
    alone = compute_metrics(config(ref, far, tmp_path / "alone"))
    cfg = config(ref, far, tmp_path / "many", keep_features=False)
    assert compute_metrics(replace(cfg, shard="1/3")) is None and compute_metrics(replace(cfg, shard="0/3")) is None
    of_fp32 = load_classifier("digits").title + "-" + digest(load_classifier("digits").identity)[:12]
    min((tmp_path / "many").glob(f"*/{of_fp32}/*.safetensors")).unlink()  # shard 0 was killed before it wrote this
    assert compute_metrics(replace(cfg, shard="2/3")) is None
    assert "shard 2/3 is done; other shards lack 24 images" in capsys.readouterr().out
    result = compute_metrics(replace(cfg, shard="0/3"))
    assert value(result) == pytest.approx(value(alone), rel=1e-6)
    assert result["half_precision"][0]["images"] == 70 and not list((tmp_path / "many").rglob("*.safetensors"))
