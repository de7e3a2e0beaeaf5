"""Reference, folders and on-the-fly sampling give the same number."""

import json

import numpy as np
import pytest

from edm2lite.config import DataConfig, GuidanceConfig, MetricsConfig, ModelRef, RefConfig, SampleConfig, SamplerConfig
from edm2lite.data.digits import load_digits
from edm2lite.errors import UserError
from edm2lite.evaluation.metrics import compute_metrics, compute_reference
from edm2lite.evaluation.statistics import ReferenceStats
from edm2lite.sampling.images import image_path, write_png
from edm2lite.sampling.write import sample
from tests.conftest import GOLDEN

SAMPLER = SamplerConfig(num_steps=4)


@pytest.fixture(scope="module")
def ref(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("ref") / "digits.npz")
    compute_reference(RefConfig(data=DataConfig(name="digits"), out=path))
    return path


def test_the_dataset_has_distance_zero_to_itself(ref, tmp_path):
    for i, image in enumerate(load_digits().images):
        write_png(image_path(tmp_path, i), image)
    result = compute_metrics(MetricsConfig(ref=ref, images=str(tmp_path)))
    assert result["frechet_distance"] == pytest.approx(0, abs=1e-6)
    assert result["num_images"] == 1797 == result["reference_images"]


def test_a_folder_and_sampling_on_the_fly_agree(ref, tiny_run, tmp_path):
    pair = {
        "main": ModelRef(path=str(tiny_run)),
        "guide": ModelRef(path=str(tiny_run), nimg=160),
        "guidance": GuidanceConfig(weight=1.5),
        "sampler": SAMPLER,
        "seeds": "0-59",
        "batch_size": 25,
        "device": "cpu",
    }
    sample(SampleConfig(outdir=str(tmp_path / "out"), **pair))
    folder = compute_metrics(MetricsConfig(ref=ref, images=str(tmp_path / "out")))
    out = tmp_path / "result.json"
    direct = compute_metrics(MetricsConfig(ref=ref, out=str(out), **pair))
    assert folder["frechet_distance"] == pytest.approx(direct["frechet_distance"], rel=1e-6)
    saved = json.loads(out.read_text())
    assert saved["guide"]["nimg"] == 160 and saved["guide"]["weight"] == 1.5 and saved["seeds"] == "0-59"


def test_every_format_has_the_same_distance(ref, tiny_run, tmp_path):
    cfg = {"main": ModelRef(path=str(tiny_run)), "sampler": SAMPLER, "seeds": "0-59", "device": "cpu"}
    found = []
    for form in ("png", "zip", "npz"):
        sample(SampleConfig(outdir=str(tmp_path / form), format=form, **cfg))
        found.append(compute_metrics(MetricsConfig(ref=ref, images=str(tmp_path / form)))["frechet_distance"])
    assert found[0] == found[1] == found[2]


def test_a_reference_of_other_weights_is_an_error_not_a_number(ref, tmp_path):
    old = ReferenceStats.load(ref)
    other = ReferenceStats(**(old.__dict__ | {"detector_sha256": "0" * 64}))
    other.save(tmp_path / "other.npz")
    with pytest.raises(UserError, match="was made with detector"):
        compute_metrics(MetricsConfig(ref=str(tmp_path / "other.npz"), images=str(tmp_path)))


def test_folders_that_cannot_be_scored(ref, tmp_path):
    with pytest.raises(UserError, match="holds 0 images"):
        compute_metrics(MetricsConfig(ref=ref, images=str(tmp_path)))
    write_png(tmp_path / "a.png", np.zeros((1, 8, 8), np.uint8))
    (tmp_path / "b.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(UserError, match=r"b\.png cannot be read"):
        compute_metrics(MetricsConfig(ref=ref, images=str(tmp_path)))
    write_png(tmp_path / "b.png", np.zeros((1, 9, 9), np.uint8))
    with pytest.raises(UserError, match=r"b\.png has shape \[1, 9, 9\]"):
        compute_metrics(MetricsConfig(ref=ref, images=str(tmp_path)))
    write_png(tmp_path / "b.png", np.zeros((3, 8, 8), np.uint8))
    with pytest.raises(UserError, match=r"\[3, 8, 8\] .* reference's images have \[1, 8, 8\]"):
        compute_metrics(MetricsConfig(ref=ref, images=str(tmp_path)))
    (tmp_path / "manifest.json").write_text('{"status": "incomplete"}')
    with pytest.raises(UserError, match="is not complete"):
        compute_metrics(MetricsConfig(ref=ref, images=str(tmp_path)))


def test_models_of_other_images_are_refused(ref):
    with pytest.raises(UserError, match=r"the main model has shape \[3, 16, 16\]"):
        main = ModelRef(path=str(GOLDEN / "snapshot-guide.pkl"))
        compute_metrics(MetricsConfig(ref=ref, main=main, seeds="0-3", sampler=SAMPLER, device="cpu"))


@pytest.mark.parametrize(
    "other",
    [
        {"guidance": GuidanceConfig(truncation=1.1)},
        {"main": ModelRef(dropout=0.1)},
        {"sampler": SAMPLER},
        {"seeds": "0-9"},
    ],
)
def test_options_that_a_folder_of_images_ignores_are_refused(other):
    with pytest.raises(UserError, match=f"{next(iter(other))} have no part in scoring a folder"):
        MetricsConfig(images="out", **other)
