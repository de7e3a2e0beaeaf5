"""Whatever goes wrong in measuring: one line that says what, exit status 2, and finished work stays."""

import errno
import json
import pickle
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from edm2lite.cli import main
from edm2lite.commands import EVALUATE
from edm2lite.config import DataConfig, RefConfig
from edm2lite.evaluation import shards
from edm2lite.evaluation.measure import compute_reference
from edm2lite.sampling.images import encode_png, write_png

BROKEN = "tests.evaluation.detectors_for_tests:broken"


@pytest.fixture(scope="module")
def ref(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("ref") / "digits.npz")
    compute_reference(RefConfig(data=DataConfig(name="digits"), out=path, detectors=("digits", BROKEN)))
    return path


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    for i in range(4):
        write_png(folder / f"{i}.png", np.full((1, 8, 8), 40 * i + 1, np.uint8))
    return folder


@pytest.fixture
def fails(capsys, tmp_path):
    """Run a command of evaluate.py; its only error line."""

    def run(*argv):
        capsys.readouterr()
        status = main(EVALUATE, "evaluate.py", [str(a) for a in argv])
        err = [
            line for line in capsys.readouterr().err.splitlines() if line and "img/s" not in line
        ]  # the bar is no error
        assert status == 2 and len(err) == 1 and err[0].startswith("error: "), (status, err)
        return err[0]

    return run


def score(ref, images, *more):
    return ["metrics", "--ref", ref, "--images", images, "--metrics", "[fd_digits]", *more]


def empty(folder):
    for path in folder.iterdir():
        path.unlink()


def only_one(folder):
    for path in sorted(folder.iterdir())[1:]:
        path.unlink()


def mixed_sizes(folder):
    write_png(folder / "2.png", np.zeros((1, 9, 9), np.uint8))


def other_size(folder):
    for path in folder.iterdir():
        write_png(path, np.zeros((3, 16, 16), np.uint8))


def truncated(folder):
    path = folder / "2.png"
    path.write_bytes(path.read_bytes()[:40])


def no_image(folder):
    (folder / "2.png").write_text("hello")


def with_transparency(folder):
    Image.new("RGBA", (8, 8)).save(folder / "2.png")


def sixteen_bits(folder):
    Image.new("I;16", (8, 8)).save(folder / "2.png")


def unfinished(folder):
    (folder / "manifest.json").write_text('{"status": "incomplete"}')


def lost(folder):
    (folder / "manifest.json").write_text('{"status": "complete", "images_sha256": {"0": "a", "7": "b"}}')


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (empty, "holds 0 images; at least 2 are needed"),
        (only_one, "holds 1 images; at least 2 are needed"),
        (mixed_sizes, "2.png has shape [1, 9, 9] (channels, height, width), the first image has [1, 8, 8]"),
        (other_size, "has shape [3, 16, 16] (channels, height, width); digits-classifier-v1 takes only [1, 8, 8]"),
        (truncated, "2.png cannot be read as an image"),
        (no_image, "2.png cannot be read as an image"),
        (with_transparency, "2.png is a picture of mode RGBA, not RGB or grey"),
        (sixteen_bits, "2.png is a picture of mode I;16, not RGB or grey"),
        (unfinished, "is not complete (see its manifest.json)"),
        (lost, "lacks 2 of the 2 images of its manifest.json (000000/000000.png ...); run its sample.py command again"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_images_that_cannot_be_scored(ref, images, fails, spoil, match):
    spoil(images)
    assert match in fails(*score(ref, images))


def test_images_that_are_not_there(ref, images, fails):
    assert "is no folder, .zip or .npz" in fails(*score(ref, images / "nothing"))
    assert "name exactly one" in fails("metrics", "--ref", ref)


def test_archives_that_cannot_be_scored(ref, tmp_path, fails):
    (tmp_path / "bad.zip").write_bytes(b"PK nothing")
    assert "bad.zip" in fails(*score(ref, tmp_path / "bad.zip"))
    (tmp_path / "bad.npz").write_bytes(b"PK nothing")
    assert "is no NPZ with images in arr_0" in fails(*score(ref, tmp_path / "bad.npz"))
    with zipfile.ZipFile(tmp_path / "cut.zip", "w") as archive:
        archive.writestr("a.png", encode_png(np.zeros((1, 8, 8), np.uint8)))
        archive.writestr("b.png", encode_png(np.zeros((1, 8, 8), np.uint8))[:30])
    assert "b.png is no PNG that can be read" in fails(*score(ref, tmp_path / "cut.zip"))


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"arr_1": np.arange(3)}, "arr_1 is int64 [3]; it must be integers [4], one an image"),
        ({"arr_1": np.arange(4.0)}, "arr_1 is float64 [4]; it must be integers [4], one an image"),
        ({"arr_1": np.eye(4, dtype=int)}, "arr_1 is int64 [4, 4]; it must be integers [4], one an image"),
        ({"seeds": np.arange(3)}, "seeds is int64 [3]; it must be integers [4], one an image"),
        ({"seeds": np.zeros(4, int)}, "seeds repeat; each image must have one of its own"),
    ],
)
def test_archives_whose_numbers_do_not_fit(ref, tmp_path, fails, arrays, match):
    np.savez(tmp_path / "a.npz", arr_0=np.zeros((4, 8, 8, 1), np.uint8), **arrays)
    assert match in fails(*score(ref, tmp_path / "a.npz"))


def test_settings_that_would_be_ignored_and_results_that_cannot_be_written(ref, images, tmp_path, fails):
    assert "unknown detector in detector_files 'incepton'; choose one of: inception, dinov2" in fails(
        *score(ref, images, "--detector_files", "{incepton: x}")
    )
    assert "a folder; name a file to write" in fails(*score(ref, images, "--out", tmp_path))
    (tmp_path / "ref.npz").mkdir()
    assert "a folder; name a file to write" in fails("ref", "--data.name", "digits", "--out", tmp_path / "ref.npz")


def test_features_that_are_not_finite(ref, images, fails):
    write_png(images / "3.png", np.zeros((1, 8, 8), np.uint8))
    error = fails("metrics", "--ref", ref, "--images", images, "--metrics", f"[fd@{BROKEN}]")
    assert "makes features that are not finite of image 3; check the image and the weights" in error


def test_too_few_images(ref, images, fails):
    error = fails(*score(ref, images, "--num_images", 50000))
    assert (
        "has 4 images, 50000 are needed; sample the rest, or give --num_images 4" in error and "not comparable" in error
    )
    assert "2 blocks of 3 are needed" in fails(*score(ref, images, "--num_images", 3, "--blocks", 2))


def test_metrics_that_cannot_be(ref, images, fails):
    assert "unknown metric 'fdi'; choose one of: fid" in fails(*score(ref, images, "--metrics", "[fdi]"))
    assert "metric fd names no detector" in fails(*score(ref, images, "--metrics", "[fd]"))
    assert "metric fid needs statistics of inception, but" in fails(*score(ref, images, "--metrics", "[fid]"))
    assert f"metric is@{BROKEN} needs a classifier" in fails(*score(ref, images, "--metrics", f"[is@{BROKEN}]"))
    assert "have no labels, which FD per class needs" in fails(
        *score(ref, images, "--metrics", "[fd_per_class_digits]")
    )


def test_weights_that_cannot_be_had(images, tmp_path, fails, monkeypatch):
    monkeypatch.setattr(
        "edm2lite.snapshots.download.urlopen", lambda *a, **k: (_ for _ in ()).throw(OSError("offline"))
    )
    argv = ["ref", "--images", images, "--detectors", "[inception]", "--out", tmp_path / "ref.npz"]
    error = fails(*argv)
    assert "weights-inception-2015-12-05-6726825d.pth" in error and "6726825d0af5f729" in error
    (tmp_path / "other.pth").write_bytes(b"other")
    assert "6726825d0af5f729" in fails(
        *argv, "--detector_files", json.dumps({"inception": str(tmp_path / "other.pth")})
    )
    assert "unknown detector 'vgg'" in fails(*argv[:3], "--detectors", "[vgg]")
    assert not (tmp_path / "ref.npz").exists()


def test_references_that_cannot_be_used(ref, images, tmp_path, fails):
    assert "do not exist; make them with: evaluate.py ref" in fails(*score(tmp_path / "absent.npz", images))
    (tmp_path / "bad.npz").write_bytes(b"PK nothing")
    assert "holds no reference statistics" in fails(*score(tmp_path / "bad.npz", images))
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps(print))
    assert "refused" in fails(*score(tmp_path / "bad.pkl", images))
    arrays = dict(np.load(ref))
    arrays["provenance"] = np.array(str(arrays["provenance"]).replace("x/127.5-1", "x/255"))
    np.savez(tmp_path / "other.npz", **arrays)
    assert "was made with preprocessing x/255, but here it is x/127.5-1" in fails(
        *score(tmp_path / "other.npz", images)
    )


def test_references_that_cannot_be_made(images, tmp_path, fails):
    assert "no images are named" in fails("ref")
    assert "data and images are given" in fails("ref", "--data.name", "digits", "--images", images)
    assert "a file that ends in .npz" in fails("ref", "--data.name", "digits", "--out", "ref.pkl")
    assert "unknown data.name 'digit'" in fails("ref", "--data.name", "digit")
    (tmp_path / "file").write_text("")
    assert "error: " in fails("ref", "--data.name", "digits", "--out", tmp_path / "file" / "ref.npz")


def test_finished_work_survives_a_full_disk_and_a_corrupt_shard(ref, images, tmp_path, fails, capsys, monkeypatch):
    argv = [
        *score(ref, images, "--features", tmp_path / "features", "--batch_size", 2),
        "--out",
        tmp_path / "result.json",
    ]
    save, written = shards.save_file, []

    def save_file(tensors, path, metadata):
        if len(written) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(tensors, path, metadata)
        written.append(path)

    monkeypatch.setattr(shards, "save_file", save_file)
    monkeypatch.setattr(shards, "_ROWS", 2)
    assert "no space left on the disk of" in fails(*argv)
    kept = list((tmp_path / "features").rglob("*.safetensors"))
    assert len(kept) == 1 and not list((tmp_path / "features").rglob(".*")), "nothing half-written"
    monkeypatch.setattr(shards, "save_file", save)
    assert main(EVALUATE, "evaluate.py", [str(a) for a in argv]) == 0 and kept[0].exists()
    value = json.loads((tmp_path / "result.json").read_text())["metrics"]["fd_digits"]["mean"]

    kept[0].write_bytes(kept[0].read_bytes()[:-7])
    assert f"{kept[0].name} are damaged" in fails(*argv)
    kept[0].unlink()
    assert main(EVALUATE, "evaluate.py", [str(a) for a in argv]) == 0
    assert json.loads((tmp_path / "result.json").read_text())["metrics"]["fd_digits"]["mean"] == value


def test_shares_that_do_not_exist(ref, images, fails):
    assert "shard is '3/2'; it must be I/N" in fails(*score(ref, images, "--shard", "3/2"))
    assert "devices is 2 and shard is 0/2; leave one of the two out" in fails(
        *score(ref, images, "--shard", "0/2", "--devices", 2)
    )


def test_models_that_cannot_be_sampled(ref, fails, tmp_path):
    assert "does not exist" in fails("metrics", "--ref", ref, "--main.path", tmp_path / "nothing")
    torch.save({}, tmp_path / "a.pkl")
    assert "error: " in fails("metrics", "--ref", ref, "--main.path", tmp_path / "a.pkl")
