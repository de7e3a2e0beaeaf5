"""Detectors by name, and the images they take."""

import pytest
import torch

from edm2lite.config.metrics import DETECTORS
from edm2lite.data.digits import load_digits
from edm2lite.errors import UserError
from edm2lite.evaluation.detectors import load as room
from edm2lite.evaluation.detectors.dinov2 import WEIGHTS, DINOv2
from edm2lite.evaluation.detectors.inception import Inception
from edm2lite.evaluation.detectors.load import check_shape, load_detector
from edm2lite.evaluation.detectors.small import Classifier


@pytest.fixture
def asked(monkeypatch):
    """Detectors without weights, in place of the published ones; which were asked for, with which files."""
    asked = []

    def published(build, file, weights):
        asked.append((build, file.name, weights))
        with torch.device("meta"):
            return build()

    monkeypatch.setattr(room, "load_published", published)
    return asked


@pytest.fixture
def untrained(monkeypatch):
    """The classifiers as they are before their training."""
    monkeypatch.setattr(room, "load_classifier", lambda name: Classifier(name, 1, 8, 10))


def test_every_name_of_the_configuration_is_known(asked, untrained):
    for name in DETECTORS:
        detector = load_detector(name, device="meta")
        assert detector.name == name and not detector.training
        assert not any(p.requires_grad for p in detector.parameters())
    assert [build for build, *_ in asked] == [Inception, DINOv2]


def test_weights_are_handed_on(asked):
    load_detector("dinov2", "FILE", "meta")
    assert asked == [(DINOv2, WEIGHTS.name, "FILE")]


def test_errors():
    with pytest.raises(UserError, match="choose one of: inception, dinov2, digits, patches, MODULE:FACTORY"):
        load_detector("clip")
    with pytest.raises(UserError, match="detector_files names FILE for digits, which has no published weights"):
        load_detector("digits", "FILE")


def test_the_digits_detector_is_a_classifier():
    detector, data = load_detector("digits"), load_digits()
    features = detector(torch.from_numpy(data.images[:200]))
    correct = detector.logits(features).argmax(1) == torch.from_numpy(data.labels[:200])
    assert correct.float().mean() > 0.97


def test_shapes(asked, untrained):
    inception, digits = load_detector("inception", device="meta"), load_detector("digits")
    for shape in ((3, 64, 48), (1, 8, 8)):
        check_shape(inception, "a.png", shape)
    for shape in ((4, 64, 64), (2, 8, 8), (64, 64), (3, 0, 4)):
        with pytest.raises(UserError, match=r"a.png has shape .*inception-2015-12-05 takes RGB \(3\) or grey \(1\)"):
            check_shape(inception, "a.png", shape)
    check_shape(digits, "a.png", (1, 8, 8))
    for shape in ((3, 8, 8), (1, 8, 9)):
        with pytest.raises(UserError, match=r"a.png has shape .*digits-classifier-v1 takes only \[1, 8, 8\]"):
            check_shape(digits, "a.png", shape)
