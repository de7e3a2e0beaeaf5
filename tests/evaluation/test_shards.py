"""Features on disk: what goes in comes out, whoever wrote it and in whatever order."""

import socket

import pytest
import torch

from edm2lite.errors import UserError
from edm2lite.evaluation.detectors.custom import load_custom
from edm2lite.evaluation.shards import FeatureStore, Writer, chunks

IDENTITY = {"images": "some"}


@pytest.fixture
def detector():
    return load_custom("tests.evaluation.detectors_for_tests:patchwork")


def features(keys):
    return torch.tensor([[key + i / 8 for i in range(6)] for key in keys])


def put(store, detector, keys, labels=None):
    store.add(detector, keys, features(keys), labels)


def test_features_come_back_in_the_order_asked_for(tmp_path, detector):
    put(FeatureStore(tmp_path, IDENTITY), detector, [4, 0, 2], torch.tensor([1, 0, 0]))
    put(FeatureStore(tmp_path, IDENTITY), detector, [3, 1], torch.tensor([1, 0]))
    store = FeatureStore(tmp_path, IDENTITY)
    x, labels = store.read(detector, [1, 4, 0])
    assert x.equal(features([1, 4, 0])) and labels.tolist() == [0, 1, 0]
    assert store.missing(detector, [0, 5, 4, 7]) == [5, 7]
    assert torch.cat([part.x for part in chunks(store, detector, range(5), 2)]).equal(features(range(5)))
    assert FeatureStore(tmp_path, {"images": "others"}).missing(detector, [0]) == [0], "another source"


def test_labels_are_known_only_if_all_are(tmp_path, detector):
    store = FeatureStore(tmp_path, IDENTITY)
    put(store, detector, [0], torch.tensor([7]))
    put(store, detector, [1])
    assert store.read(detector, [0]).labels.tolist() == [7] and store.read(detector, [0, 1]).labels is None


def test_what_was_gathered_is_written_even_after_an_error(tmp_path, detector):
    store = FeatureStore(tmp_path, IDENTITY)
    with pytest.raises(KeyboardInterrupt), Writer(store, detector) as writer:
        writer.add([5, 6], features([5, 6]), None)
        raise KeyboardInterrupt
    assert store.missing(detector, [5, 6, 7]) == [7]


def test_removing_leaves_the_features_of_others(tmp_path, detector):
    store = FeatureStore(tmp_path, IDENTITY)
    put(store, detector, [0, 1])
    put(store, detector, [2, 3])
    store.remove(detector, [0, 1, 2])
    again = FeatureStore(tmp_path, IDENTITY)
    assert again.missing(detector, range(4)) == [0, 1], "the shard of 2 holds 3, too"
    again.note_halved(32)
    (
        next(tmp_path.rglob("*.safetensors")).parent / f".a.{socket.gethostname()}.4194305.tmp"
    ).touch()  # of one that was killed
    again.remove(detector, range(4))
    assert not list(tmp_path.iterdir())


def test_features_that_another_command_removes_meanwhile(tmp_path, detector, monkeypatch):
    ours, theirs = FeatureStore(tmp_path, IDENTITY), FeatureStore(tmp_path, IDENTITY)
    put(ours, detector, [0, 1])
    held = ours.held(detector)
    theirs.remove(detector, [0, 1])
    with pytest.raises(UserError, match=r"were removed by another command .*; run the same command again"):
        ours.read(detector, [0])
    monkeypatch.setattr(ours, "held", lambda detector: held)  # between listing and reading
    with pytest.raises(UserError, match="were removed by another command"):
        ours.read(detector, [0])
    listed = next(iter(held.values()))
    monkeypatch.setattr(type(listed), "glob", lambda self, pattern: [listed])
    assert FeatureStore(tmp_path, IDENTITY).missing(detector, [0]) == [0]


def test_a_damaged_shard_is_named(tmp_path, detector):
    store = FeatureStore(tmp_path, IDENTITY)
    put(store, detector, [0, 1])
    (path,) = tmp_path.rglob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[-3] ^= 1  # one bit of a number
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"{path.name} are damaged \(checksum of features differs\); delete that file"):
        FeatureStore(tmp_path, IDENTITY).read(detector, [0])
    path.write_bytes(content[:40])
    with pytest.raises(UserError, match=f"{path.name} are damaged"):
        FeatureStore(tmp_path, IDENTITY).held(detector)
