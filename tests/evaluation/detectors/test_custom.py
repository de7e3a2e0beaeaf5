"""Detectors by import path: used as they are; what is none is refused in one line."""

import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from edm2lite.errors import UserError
from edm2lite.evaluation.detectors.custom import load_custom
from edm2lite.evaluation.detectors.load import load_detector
from edm2lite.snapshots.files import fingerprint
from tests.evaluation.detectors.random_weights import random_images


class Mean(nn.Module):
    """Mean of blue, green and red, times a weight."""

    dim = 3

    def __init__(self, **attributes):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))
        vars(self).update(attributes)

    def forward(self, images):
        return images.float().mean((2, 3), keepdim=True)[:, [2, 1, 0]] * self.weight.reshape(3, 1, 1)


class Grey(Mean):
    dim, image_shape, preprocessing = 1, [1, 4, 4], "none"

    def forward(self, images):
        return images.double().mean((2, 3))

    def logits(self, features):
        return features @ torch.full((1, 1), 2.0)


@pytest.fixture
def factories(monkeypatch):
    """The module `mine`."""
    mine = SimpleNamespace(
        mean=Mean, grey=Grey, needs=lambda path: Mean(), text=lambda: "no module", constant=3,
        no_dim=lambda: nn.Linear(1, 1), bad_dim=lambda: Mean(dim="3"), bad_shape=lambda: Mean(image_shape=(3, 8)),
        wrong_dim=lambda: Mean(dim=4), half=lambda: Mean().half(),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "mine", mine)
    return mine


def test_features_are_the_modules(factories):
    detector, images = load_detector("mine:mean"), random_images(5, 3, 8, 6)
    expected = images.float().mean((2, 3)).flip(1) * torch.tensor([1.0, 2.0, 3.0])
    assert torch.equal(detector(images), expected) and detector(images).shape == (5, detector.dim)
    assert torch.equal(detector(images[:, :1]), detector(images[:, :1].expand(-1, 3, -1, -1)))
    assert detector.name == detector.title == "mine:mean" and detector.logits(expected) is None
    assert not detector(images).requires_grad and not detector.module.training


def test_what_the_module_says_of_itself_is_kept(factories):
    detector = load_detector("mine:grey")
    assert (detector.image_shape, detector.preprocessing, detector.dim) == ((1, 4, 4), "none", 1)
    features = detector(random_images(2, 1, 4, 4))
    with torch.autocast("cpu", torch.bfloat16):
        logits = detector.logits(features)
    assert logits.dtype == features.dtype == torch.float32 and torch.equal(logits, features * 2)


def test_the_weights_identify_it(factories):
    a, b = load_custom("mine:mean"), load_custom("mine:half")
    assert a.weights_sha256 == b.weights_sha256 == fingerprint(Mean())
    factories.other = changed
    assert load_custom("mine:other").weights_sha256 != a.weights_sha256


def changed():
    net = Mean()
    net.weight.data[0] = 5
    return net


@pytest.mark.parametrize(("name", "message"), [
    ("mine:nothing", "mine has no function nothing; it has: .*grey, half, mean"),
    ("mine:constant", "mine has no function constant"),
    ("mine:", "write module:name"),
    (":mean", "write module:name"),
    ("..mine:mean", "cannot be imported"),
    ("no_such_module:mean", "no_such_module cannot be imported .*set PYTHONPATH"),
    ("mine:needs", "cannot be called without arguments .*path"),
    ("mine:text", "gives a str; it must give a torch.nn.Module"),
    ("mine:no_dim", "has dim None; its attribute dim"),
    ("mine:bad_dim", "has dim '3'"),
    ("mine:bad_shape", r"has image_shape \(3, 8\)"),
])  # fmt: skip
def test_what_is_no_detector_is_refused(factories, name, message):
    with pytest.raises(UserError, match=message) as e:
        load_custom(name)
    assert "\n" not in str(e.value)


def test_features_of_another_size_are_refused(factories):
    with pytest.raises(UserError, match=r"gives \(2, 3, 1, 1\) for 2 images; it must give \(2, 4\)"):
        load_custom("mine:wrong_dim")(random_images(2, 3, 4, 4))
