"""From images to features: what goes wrong on the way is told, and what was done before is kept."""

import os
import signal
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from edm2lite.config import SamplerConfig
from edm2lite.data.encoders import RGBEncoder
from edm2lite.errors import UserError
from edm2lite.evaluation.detectors.custom import load_custom
from edm2lite.evaluation.extract import extract
from edm2lite.evaluation.shards import FeatureStore, Writer
from edm2lite.evaluation.sources import Batch, FileSource, PairSource

PATCHWORK = "tests.evaluation.detectors_for_tests:patchwork"


class Made:
    """Twelve images, three at a time; before the third batch something may happen."""

    name, identity, keys, shape, batch_size = "made up", {"images": "made up"}, range(12), (1, 9, 9), 3

    def __init__(self, happens=lambda: None, **about):
        self.happens, self.about, self.made = happens, {"labels": None, **about}, []

    def batches(self, keys):
        for start in range(0, len(keys), 3):
            if start == 6:
                self.happens()
            some = list(keys[start : start + 3])
            self.made += some
            yield Batch(some, torch.full((3, 1, 9, 9), start, dtype=torch.uint8), **self.about)


@pytest.fixture
def detector():
    return load_custom(PATCHWORK)


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path, Made.identity)


def test_what_was_computed_before_sigterm_is_kept(detector, store):
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as ended:
            extract(Made(lambda: os.kill(os.getpid(), signal.SIGTERM)), [detector], store, range(12))
        assert ended.value.code == 143 and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert store.missing(detector, range(12)) == list(range(6, 12))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # whoever handles it otherwise goes on to
        extract(Made(lambda: os.kill(os.getpid(), signal.SIGTERM)), [detector], store, range(12))
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN and not store.missing(detector, range(12))
    finally:
        signal.signal(signal.SIGTERM, before)


def test_missing_labels_are_told_after_one_batch(detector, store):
    source = Made()
    with pytest.raises(UserError, match="made up: the images have no labels, which FD per class needs"):
        extract(source, [detector], store, range(12), labelled=True)
    assert len(source.made) == 3
    extract(Made(labels=torch.arange(3)), [detector], store, range(12), labelled=True)
    assert store.read(detector, [4]).labels.tolist() == [1]


def test_a_detector_without_memory_is_an_error_with_the_way_out(detector, store, monkeypatch):
    monkeypatch.setattr(detector.module, "forward", lambda x: (_ for _ in ()).throw(torch.OutOfMemoryError("out")))
    with pytest.raises(UserError, match=r"out of memory in .*patchwork with batch_size 3; set a smaller --batch_size"):
        extract(Made(), [detector], store, range(12))


def test_a_halved_batch_is_noted_for_every_process(detector, store, tmp_path):
    extract(Made(), [detector], store, range(6))
    assert not store.halved()
    extract(Made(halved_to=2), [detector], store, range(12))
    assert FeatureStore(tmp_path, Made.identity).halved() == [2]


def test_features_are_kept_while_the_next_batch_is_computed(detector, store, monkeypatch):
    forward, add, computed, kept = detector.module.forward, Writer.add, [], []
    second = threading.Event()

    def compute(images):
        computed.append(1)
        if len(computed) == 2:
            second.set()
        return forward(images)

    def keep(self, *batch):
        kept.append(second.wait(20))
        add(self, *batch)

    monkeypatch.setattr(detector.module, "forward", compute)
    monkeypatch.setattr(Writer, "add", keep)
    extract(Made(), [detector], store, range(12))
    assert kept == [True] * 4 and not store.missing(detector, range(12))


def test_what_was_computed_before_a_feature_that_is_not_finite_is_kept(store):
    detector = load_custom("tests.evaluation.detectors_for_tests:broken")
    source = Made()
    source.batches = lambda keys: (
        Batch([key], torch.full((1, 1, 9, 9), int(key != 3), dtype=torch.uint8), None) for key in keys
    )
    with pytest.raises(UserError, match="broken makes features that are not finite of image 3; check the image"):
        extract(source, [detector], store, range(12))
    assert store.missing(detector, range(12)) == list(range(3, 12))


class Read:
    """Images that say when they are read."""

    path, labels, fingerprint, by_seed, names = "read", None, "", True, [""] * 12

    def __init__(self):
        self.fourth, self.read_by = threading.Event(), set()

    def read(self, key):
        self.read_by.add(threading.current_thread() is threading.main_thread())
        if key == 3:
            self.fourth.set()
        return np.full((1, 9, 9), key, np.uint8)


def test_files_are_decoded_while_the_caller_computes(detector, store, monkeypatch):
    images, forward, computed = Read(), detector.module.forward, []

    def compute(pixels):
        computed.append((pixels[:, 0, 0, 0].tolist(), images.fourth.wait(20)))
        if len(computed) == 3:
            raise KeyboardInterrupt
        return forward(pixels)

    monkeypatch.setattr(detector.module, "forward", compute)
    source = FileSource(images, 3)
    with pytest.raises(KeyboardInterrupt) as told:  # its traceback keeps everything alive that was not closed
        extract(source, [detector], store, range(12))
    assert told.type is KeyboardInterrupt and computed == [([0, 1, 2], True), ([3, 4, 5], True), ([6, 7, 8], True)]
    assert not any(thread.name == "ahead" for thread in threading.enumerate())
    assert store.missing(detector, range(12)) == list(range(6, 12))


def pair(encoder, name):
    return SimpleNamespace(
        check=lambda **_: None, encoder=encoder, shape=(1, 8, 8), identity=lambda: {"main": "weights"},
        device=torch.device("cpu"), sample=lambda *_, on_halved, **__: [on_halved(2), sampled()][1:],
        main=SimpleNamespace(info=SimpleNamespace(encoder=name), denoiser=SimpleNamespace(compute_dtype=torch.float32)),
    )  # fmt: skip


def sampled():
    return SimpleNamespace(seeds=[5], pixels=torch.zeros(1, 1, 8, 8), labels=None)


def test_a_pair_tells_of_its_halved_batches_and_of_the_scale_of_its_latents():
    sources = [
        PairSource(pair(encoder, about), [5], SamplerConfig(), 4)
        for encoder, about in ((RGBEncoder(), {"name": "rgb"}), (None, {"std": 1}), (None, {"std": 2}))
    ]
    assert [batch.halved_to for batch in sources[0].batches([5])] == [2]
    assert "encoder" not in sources[0].identity and sources[1].identity != sources[2].identity
