"""Weights: where they are looked for; others, damaged ones and hostile ones are refused in one line."""

import hashlib
import os
import pickle
from dataclasses import replace

import pytest
import torch
from torch import nn

from edm2lite.errors import UserError
from edm2lite.evaluation.detectors import dinov2, inception
from edm2lite.evaluation.detectors.detector import Detector
from edm2lite.evaluation.detectors.weights import WeightsFile, find_weights, load_published
from tests.snapshots.server import serve

NOWHERE = "http://127.0.0.1:9/weights.pth"


class Tiny(Detector):
    name = title = "tiny"

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, images):
        return self.layer(images.float().mean((2, 3)))


def written(path, content, url=NOWHERE):
    """The description of a file that holds `content`: a state dict, or bytes."""
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    return WeightsFile("tiny", path.name, url, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where people put weights."""
    monkeypatch.setenv("EDM2LITE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "detectors").mkdir(parents=True)
    return tmp_path / "cache" / "detectors"


def test_a_named_file_goes_before_one_in_the_cache(folder, tmp_path):
    state = Tiny().state_dict()
    file = written(tmp_path / "weights.pth", state)
    (folder / "weights.pth").write_bytes(b"others")
    net = load_published(Tiny, file, str(tmp_path / "weights.pth"))
    assert all(torch.equal(net.state_dict()[name], state[name]) for name in state)
    assert net.weights_sha256 == file.sha256


def test_a_file_in_the_cache_goes_before_a_download(folder):
    file = written(folder / "weights.pth", b"some")
    assert find_weights(file) == folder / "weights.pth"


def test_downloaded_once(folder, tmp_path):
    with serve() as site:
        file = written(tmp_path / "weights.pth", Tiny().state_dict(), f"{site.url}/weights.pth")
        site.files["/weights.pth"] = (tmp_path / "weights.pth").read_bytes()
        load_published(Tiny, file)
        load_published(Tiny, file)
        assert site.asked == ["/weights.pth"]
        with pytest.raises(UserError, match=f"has sha256 {file.sha256}, not 0000.*it was not kept"):
            find_weights(replace(file, url=f"{site.url}/weights.pth?again", sha256="0" * 64))


def test_absent_and_offline(folder):
    with pytest.raises(UserError) as e:
        find_weights(replace(dinov2.WEIGHTS, url=NOWHERE))
    text = str(e.value)
    for needed in (
        "weights of dinov2 are missing", NOWHERE, dinov2.WEIGHTS.name, dinov2.WEIGHTS.sha256,
        str(folder / dinov2.WEIGHTS.name), "--detector_files '{dinov2: FILE}'",
    ):  # fmt: skip
        assert needed in text
    assert "\n" not in text


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(("harm", "message"), [
    (lambda content: content[:-1], "has 4 bytes, not 5: cut short"),
    (lambda content: b"wrong", "has sha256 {found}, not {expected}"),
])  # fmt: skip
def test_another_file_is_refused(harm, message, named, folder):
    path = folder / "weights.pth"
    file = written(path, b"right")
    path.write_bytes(harm(b"right"))
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(UserError, match=message.format(found=found, expected=file.sha256)):
        find_weights(file, str(path) if named else None)


def test_a_named_file_that_is_not_there(tmp_path):
    with pytest.raises(
        UserError, match=r"detector_files.inception is .*/nothing, where there is no file; get weights-ince"
    ):
        find_weights(inception.WEIGHTS, str(tmp_path / "nothing"))


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("hacked",)


@pytest.mark.parametrize(("content", "message"), [
    ({"layer.weight": torch.zeros(2, 3)}, "Missing key.*layer.bias"),
    (Tiny().state_dict() | {"more": torch.zeros(1)}, "Unexpected key.*more"),
    (Tiny().state_dict() | {"layer.bias": torch.zeros(7)}, "size mismatch for layer.bias"),
    ([1, 2], "Expected state_dict to be dict-like"),
    (b"no pickle", "holds no weights of tiny"),
    (pickle.dumps(Hostile(), protocol=2), "holds no weights of tiny"),
    ({"layer.weight": Hostile()}, "Weights only load failed"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(content, message, folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    file = written(folder / "weights.pth", content)
    with pytest.raises(UserError, match=message) as e:
        load_published(Tiny, file)
    assert "\n" not in str(e.value) and not (tmp_path / "hacked").exists()


def test_the_published_files():
    assert (inception.WEIGHTS.size, dinov2.WEIGHTS.size) == (95_628_359, 1_217_586_395)
    for file in (inception.WEIGHTS, dinov2.WEIGHTS):
        assert file.url.endswith(f"/{file.name}") and len(file.sha256) == 64
    assert inception.WEIGHTS.sha256.startswith(inception.WEIGHTS.name[-12:-4])
