"""References and metrics: the same number from a folder, an archive, or sampling on the fly, in one process or several."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from edm2lite.config import DataConfig, GuidanceConfig, MetricsConfig, ModelRef, RefConfig, SampleConfig, SamplerConfig
from edm2lite.data.digits import load_digits
from edm2lite.errors import UserError
from edm2lite.evaluation import measure
from edm2lite.evaluation.measure import compute_metrics, compute_reference, split
from edm2lite.evaluation.meter import Meter
from edm2lite.evaluation.reference import Reference, load_reference
from edm2lite.evaluation.shards import FeatureStore
from edm2lite.evaluation.sources import PairSource
from edm2lite.sampling.images import image_path, write_png
from edm2lite.sampling.write import sample
from tests.conftest import GOLDEN, ROOT

SAMPLER = SamplerConfig(num_steps=4)
PATCHWORK = "tests.evaluation.detectors_for_tests:patchwork"


@pytest.fixture(scope="module")
def ref(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("ref") / "digits.npz")
    compute_reference(RefConfig(data=DataConfig(name="digits"), out=path))
    return path


@pytest.fixture(autouse=True)
def features(tmp_path, monkeypatch):
    """Every test keeps its features in a folder of its own."""
    trained = measure.load_detector  # the detector of digits stays where it was trained
    trained("digits")
    monkeypatch.setattr("edm2lite.evaluation.meter.cache_dir", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "features"


@pytest.fixture
def pair(tiny_run):
    return {
        "main": ModelRef(path=str(tiny_run)),
        "guide": ModelRef(path=str(tiny_run), nimg=160),
        "guidance": GuidanceConfig(weight=1.5),
        "sampler": SAMPLER,
        "seeds": "0-59",
        "batch_size": 25,
        "device": "cpu",
    }


def value(result, metric="fd"):
    return result["metrics"][metric]["mean"]


def test_the_dataset_has_distance_zero_to_itself(ref, tmp_path):
    for i, image in enumerate(load_digits().images):
        write_png(image_path(tmp_path / "all", i), image)
    result = compute_metrics(MetricsConfig(ref=ref, images=str(tmp_path / "all"), metrics=("fd", "prdc")))
    assert value(result) == pytest.approx(0, abs=1e-6)
    assert value(result, "precision") == value(result, "recall") == value(result, "coverage") == 1
    assert result["num_images"] == 1797 == result["reference"]["num_images"]


def test_a_reference_knows_where_it_came_from(ref):
    data, digits = load_reference(ref).data, load_reference(ref).statistics["digits"]
    assert (data["name"], data["num_images"], digits.num_images) == ("digits", 1797, 1797) and len(
        data["dataset"]
    ) == 64
    assert digits.identity["detector"] == "digits-classifier-v1" and len(digits.identity["weights_sha256"]) == 64
    assert digits.features.shape == (1797, 64) and (digits.labels == load_digits().labels).all()
    np.testing.assert_allclose(digits.sigma, np.cov(digits.features.T), rtol=1e-5, atol=1e-6)


def test_a_folder_and_sampling_on_the_fly_agree(ref, pair, tmp_path):
    sample(SampleConfig(outdir=str(tmp_path / "out"), **pair))
    folder = compute_metrics(MetricsConfig(ref=ref, images=str(tmp_path / "out"), metrics=("fd", "fd_per_class")))
    out = tmp_path / "result.json"
    direct = compute_metrics(MetricsConfig(ref=ref, out=str(out), metrics=("fd", "fd_per_class"), **pair))
    assert value(folder) == pytest.approx(value(direct), rel=1e-6)
    assert value(folder, "fd_per_class") == pytest.approx(value(direct, "fd_per_class"), rel=1e-6)
    saved = json.loads(out.read_text())
    assert saved["made_by"]["guide"]["nimg"] == 160 and saved["made_by"]["guide"]["weight"] == 1.5
    assert saved["seeds"] == "0-59" and saved["protocol"]["fd"]["detector"]["detector"] == "digits-classifier-v1"


def test_every_format_has_the_same_metrics(ref, pair, tmp_path):
    found = []
    for form in ("png", "zip", "npz"):
        sample(SampleConfig(outdir=str(tmp_path / form), format=form, **pair))
        cfg = MetricsConfig(
            ref=ref, images=str(tmp_path / form), metrics=("fd", "kd", "is_digits", "prdc", "fd_per_class")
        )
        found.append(compute_metrics(cfg)["metrics"])
    assert found[0] == found[1] == found[2] and len(found[0]) == 8


@pytest.mark.parametrize("count", [1, 2, 3])
def test_processes_with_uneven_shares_find_what_one_finds(ref, pair, tmp_path, capsys, count):
    alone = compute_metrics(MetricsConfig(ref=ref, features=str(tmp_path / "alone"), **pair))
    cfg = MetricsConfig(ref=ref, features=str(tmp_path / "many"), **pair)
    results = [compute_metrics(replace(cfg, shard=f"{i}/{count}")) for i in reversed(range(count))]
    assert results[:-1] == [None] * (count - 1), "only who finds all features measures"
    assert value(results[-1]) == pytest.approx(value(alone), rel=1e-12)
    assert capsys.readouterr().out.count("other shards lack") == count - 1


def test_who_sees_that_others_lack_images_takes_no_lock(ref, pair, monkeypatch):
    """Else the last one to end could find it taken and go, and nobody would measure."""
    monkeypatch.setattr(measure, "unless_another", lambda path: pytest.fail("not all features are there"))
    assert compute_metrics(MetricsConfig(ref=ref, shard="0/2", **pair)) is None


def test_references_of_several_processes_are_equal(ref, tmp_path):
    cfg = RefConfig(data=DataConfig(name="digits"), out=str(tmp_path / "ref.npz"), batch_size=100, features=10)
    assert [compute_reference(replace(cfg, shard=f"{i}/3")) for i in (2, 0)] == [None, None]
    made, whole = compute_reference(replace(cfg, shard="1/3")), load_reference(ref).statistics["digits"]
    many = made.statistics["digits"]
    np.testing.assert_allclose(many.mu, whole.mu, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(many.sigma, whole.sigma, rtol=1e-5, atol=1e-6)
    assert many.features.shape == (10, 64) and many.labels[[0, -1]].tolist() == load_digits().labels[[0, -1]].tolist()
    assert [p.name for p in tmp_path.iterdir()] == ["ref.npz"], "its features are not needed any more"


def test_of_processes_that_end_together_one_computes(ref, pair, features, tmp_path, monkeypatch, capsys):
    cfg = MetricsConfig(ref=ref, keep_features=False, **pair)
    of_digits = RefConfig(data=DataConfig(name="digits"), out=str(tmp_path / "ref.npz"))
    locks = []

    @contextmanager
    def taken(path):
        locks.append(path.name)
        yield False

    monkeypatch.setattr(measure, "unless_another", taken)
    assert compute_metrics(cfg) is None and compute_metrics(replace(cfg, shard="0/1")) is None
    assert compute_metrics(replace(cfg, metrics=("kd",))) is None and compute_reference(of_digits) is None
    assert capsys.readouterr().out.count("another process computes the numbers") == 4
    assert locks[0] == locks[1] != locks[2], "the same for all shares of a command, and for it alone"
    monkeypatch.undo()
    monkeypatch.setattr("edm2lite.evaluation.meter.cache_dir", lambda: tmp_path / "cache")

    @contextmanager
    def too_late(path):
        shutil.rmtree(path.parent)  # the other one has computed the numbers and removed the features
        yield True

    monkeypatch.setattr(measure, "unless_another", too_late)
    assert compute_metrics(cfg) is None and compute_reference(of_digits) is None
    assert capsys.readouterr().out.count("another process computes the numbers") == 2


def test_a_halved_batch_is_in_the_result(ref, pair, features):
    source = measure._pair_source(MetricsConfig(ref=ref, **pair))
    FeatureStore(features, source.identity).note_halved(13)
    assert compute_metrics(MetricsConfig(ref=ref, **pair))["batch_size_halved_to"] == [13]
    assert "batch_size_halved_to" not in compute_metrics(MetricsConfig(ref=ref, **pair | {"batch_size": 24}))


def test_other_labels_of_a_reference_are_another_protocol(ref, pair, tmp_path):
    whole = load_reference(ref).statistics["digits"]
    other = replace(whole, labels=whole.labels[::-1].copy())
    Reference(path=str(tmp_path / "other.npz"), data={}, statistics={"digits": other}).save()
    found = []
    for path in (ref, str(tmp_path / "other.npz")):
        meter = Meter(MetricsConfig(ref=path, metrics=("fd", "fd_per_class"), **pair))
        found.append([meter.protocol(metric) for metric in meter.metrics])
    assert found[0][0] == found[1][0] and found[0][1] != found[1][1]


def test_further_metrics_need_no_new_images(ref, pair, monkeypatch):
    first = compute_metrics(MetricsConfig(ref=ref, **pair))
    monkeypatch.setattr(PairSource, "batches", lambda *a: pytest.fail("the features are there"))
    again = compute_metrics(MetricsConfig(ref=ref, metrics=("fd", "kd", "coverage"), **pair))
    assert value(again) == value(first) and set(again["metrics"]) == {"fd", "kd", "coverage"}
    with pytest.raises(pytest.fail.Exception):
        compute_metrics(MetricsConfig(ref=ref, **{**pair, "batch_size": 24}))


def test_an_interrupted_command_goes_on(ref, pair, features, monkeypatch):
    whole = compute_metrics(MetricsConfig(ref=ref, features=str(features / "other"), **pair))
    batches, made = PairSource.batches, []

    def watched(self, keys, stop=2):
        for i, batch in enumerate(batches(self, keys)):
            if i == stop:
                raise KeyboardInterrupt
            made.extend(batch.keys)
            yield batch

    monkeypatch.setattr(PairSource, "batches", watched)
    with pytest.raises(KeyboardInterrupt):
        compute_metrics(MetricsConfig(ref=ref, **pair))
    assert value(compute_metrics(MetricsConfig(ref=ref, **pair))) == value(whole)
    assert made == list(range(60)), "every image was made once"


def test_features_are_forgotten_if_asked(ref, pair, features):
    compute_metrics(MetricsConfig(ref=ref, keep_features=False, **pair))
    assert not any(features.rglob("*.safetensors"))


def test_blocks_are_scored_each_by_itself(ref, pair, capsys):
    three = compute_metrics(MetricsConfig(ref=ref, blocks=3, **pair))["metrics"]["fd"]
    values = [score["value"] for score in three["scores"]]
    assert len(set(values)) == 3 and three["min"] == min(values) and three["mean"] == pytest.approx(np.mean(values))
    assert [score["num_images"] for score in three["scores"]] == [20] * 3
    assert three["sd"] == pytest.approx(np.std(values, ddof=1)) and "sd over 3 blocks; min" in capsys.readouterr().out
    second = compute_metrics(MetricsConfig(ref=ref, **{**pair, "seeds": "20-39"}))
    assert value(second) == pytest.approx(values[1], rel=1e-5)
    with pytest.raises(UserError, match="60 images cannot be split evenly into 7 blocks; give --num_images 8"):
        compute_metrics(MetricsConfig(ref=ref, blocks=7, **pair))
    with pytest.raises(UserError, match=r"has 60 images, 61 are needed; sample the rest, or give --num_images 60"):
        compute_metrics(MetricsConfig(ref=ref, num_images=61, **pair))


def test_blocks_of_files_that_may_be_sorted_by_class_are_spread_over_them(ref, tmp_path):
    images, order = load_digits().images, np.argsort(load_digits().labels, kind="stable")[::30]
    for i, index in enumerate(order):
        write_png(tmp_path / "sorted" / f"{i:03}.png", images[index])
        write_png(image_path(tmp_path / "seeds", i), images[index])
    sources = [measure._files(str(tmp_path / name), 8) for name in ("sorted", "seeds")]
    assert split(sources[0], 2, None) == [list(range(0, 60, 2)), list(range(1, 60, 2))]
    assert split(sources[0], 1, 20)[0] == [round(i * 59 / 19) for i in range(20)]
    assert len({key for block in split(sources[0], 3, 19) for key in block}) == 57, "none is in two"
    assert split(sources[1], 3, 19) == [list(range(i, i + 19)) for i in (0, 19, 38)]


def test_any_module_can_be_the_detector(pair, tmp_path):
    cfg = RefConfig(data=DataConfig(name="digits"), detectors=(PATCHWORK, "digits"), out=str(tmp_path / "ref.npz"))
    compute_reference(cfg)
    result = compute_metrics(MetricsConfig(ref=cfg.out, metrics=(f"fd@{PATCHWORK}", "fd_digits"), **pair))
    assert set(result["metrics"]) == {f"fd@{PATCHWORK}", "fd_digits"}
    by_default = compute_metrics(MetricsConfig(ref=cfg.out, **pair))
    assert by_default["metrics"] == result["metrics"]


def test_images_in_a_reference_stand_for_its_features(ref, pair, tmp_path, monkeypatch):
    sample(SampleConfig(outdir=str(tmp_path / "out"), format="npz", **pair))
    whole = load_reference(ref).statistics["digits"]
    bare = Reference(
        path=str(tmp_path / "bare.npz"), data={}, statistics={"digits": replace(whole, features=None, labels=None)}
    )
    bare.save()
    with pytest.raises(UserError, match=r"metric kd needs features, and .* holds mean and covariance alone"):
        Meter(MetricsConfig(ref=bare.path, metrics=("kd",), **pair))
    with pytest.raises(UserError, match="metric fd_per_class needs"):
        Meter(MetricsConfig(ref=bare.path, metrics=("fd_per_class",), **pair))
    meter = Meter(MetricsConfig(ref=bare.path, **pair))
    meter.reference = replace(meter.reference, images=str(tmp_path / "out" / "images.npz"))
    assert meter._with_features("digits").features.shape == (60, 64)
    np.savez_compressed(tmp_path / "compressed.npz", arr_0=np.zeros((3, 8, 8, 1), np.uint8))
    monkeypatch.setattr(
        "edm2lite.evaluation.meter.load_reference", lambda path: replace(bare, images=str(tmp_path / "compressed.npz"))
    )
    with pytest.raises(UserError, match="arr_0 is compressed"):  # before anything is sampled
        Meter(MetricsConfig(ref=bare.path, metrics=("kd",), **pair))


def test_copies_of_other_projects_files(ref, tmp_path, capsys):
    copy = compute_reference(RefConfig(source=ref, out=str(tmp_path / "copy.npz")))
    assert (load_reference(copy.path).statistics["digits"].mu == load_reference(ref).statistics["digits"].mu).all()
    assert "1797 images of digits" in capsys.readouterr().out


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
        {"labels": "balanced"},
        {"precision": "fp16"},
        {"vae": "other"},
        {"models": "models"},
    ],
)
def test_options_that_a_folder_of_images_ignores_are_refused(other):
    with pytest.raises(UserError, match=f"{next(iter(other))} have no part in scoring a folder"):
        MetricsConfig(images="out", **other)


@pytest.mark.parametrize(
    "other", [{"detectors": ("digits",)}, {"features": 10}, {"shard": "0/2"}, {"devices": 2}, {"batch_size": 1}]
)
def test_options_that_another_projects_statistics_ignore_are_refused(other):
    with pytest.raises(UserError, match=f"{next(iter(other))} have no part in taking the numbers of img512.pkl"):
        RefConfig(source="img512.pkl", **other)


@pytest.mark.slow
def test_one_of_two_processes_is_killed_and_the_same_command_goes_on(ref, pair, tiny_run, tmp_path):
    whole = compute_metrics(MetricsConfig(ref=ref, features=str(tmp_path / "alone"), **pair | {"seeds": "0-2999"}))
    command = [
        sys.executable, "evaluate.py", "metrics", f"--ref={ref}", f"--main.path={tiny_run}", f"--guide.path={tiny_run}",
        "--guide.nimg=160", "--guidance.weight=1.5", "--sampler.num_steps=4", "--seeds=0-2999", "--batch_size=25",
        "--device=cpu", "--devices=2", f"--features={tmp_path / 'features'}", f"--out={tmp_path / 'result.json'}",
    ]  # fmt: skip
    run = {"cwd": ROOT, "env": {**os.environ, "OMP_NUM_THREADS": "1"}, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **run) as parent:
        while not list(tmp_path.glob("features/*/*/*.safetensors")):
            assert parent.poll() is None, parent.stderr.read()
            time.sleep(0.05)
        children = subprocess.run(["pgrep", "-P", str(parent.pid)], capture_output=True, text=True, check=True).stdout
        os.kill(int(children.split()[0]), signal.SIGKILL)
        assert parent.wait() == 2 and "run the same command again to go on" in parent.stderr.read()
    assert not (tmp_path / "result.json").exists()
    assert subprocess.run(command, **run, check=False).returncode == 0
    assert value(json.loads((tmp_path / "result.json").read_text())) == pytest.approx(value(whole), rel=1e-12)
