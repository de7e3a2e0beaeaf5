"""Gradient guidance by a classifier of the denoised image."""

import pytest
import torch

from edm2lite.config import GradientConfig, GuidanceConfig, ModelRef, SamplerConfig
from edm2lite.errors import UserError
from edm2lite.network.classifier import Classifier
from edm2lite.sampling.classified import class_score
from edm2lite.sampling.pair import load_pair
from edm2lite.snapshots.classifiers import load_classifier
from edm2lite.snapshots.files import SnapshotInfo, save_snapshot
from tests.conftest import TINY

NAME = "edm2lite.sampling.classified:class_score"


def save_classifier(path, seed=0, resolution=8, **info):
    """A classifier of random weights."""
    torch.manual_seed(seed)
    about = SnapshotInfo(
        img_resolution=resolution, img_channels=1, label_dim=10, network=TINY, kind="classifier", **info
    )
    net = about.build()
    assert isinstance(net, Classifier)
    net.out_gain.data.fill_(1.0)
    save_snapshot(path, net.state_dict(), about)
    return net.requires_grad_(False)


def pair_with(main, classifier, **gradient):
    arguments = {"path": str(classifier)}
    guidance = GuidanceConfig(gradient=GradientConfig(function=NAME, arguments=arguments, scale=1.0, **gradient))
    return load_pair(ModelRef(path=str(main)), ModelRef(), guidance, device="cpu")


def test_it_is_the_log_probability_of_the_label_at_its_own_noise_level(tmp_path):
    net = save_classifier(tmp_path / "c.safetensors")
    x, labels = torch.randn(2, 1, 8, 8), torch.tensor([3, 7])
    expected = net(x, 0.2).log_softmax(1)[[0, 1], labels]
    torch.testing.assert_close(class_score(str(tmp_path / "c.safetensors"), sigma=0.2)(x, 5.0, labels), expected)


def test_images_or_labels_that_it_cannot_see_are_an_error(tmp_path):
    save_classifier(tmp_path / "c.safetensors")
    score = class_score(str(tmp_path / "c.safetensors"))
    with pytest.raises(UserError, match="needs labels, but the main model has no classes"):
        score(torch.zeros(2, 1, 8, 8), 1.0, None)
    with pytest.raises(UserError, match=r"images of shape \[1, 8, 8\], the main model makes \[3, 16, 16\]"):
        score(torch.zeros(2, 3, 16, 16), 1.0, torch.tensor([0, 1]))
    with pytest.raises(UserError, match="sigma of class_score is 0; it must be positive"):
        class_score(str(tmp_path / "c.safetensors"), sigma=0)


def test_the_identity_of_a_pair_holds_the_weights_of_its_function(tiny_run, tmp_path):
    identities = []
    for seed in (0, 1, 0):
        save_classifier(tmp_path / "c.safetensors", seed)
        pair = pair_with(tiny_run, tmp_path / "c.safetensors")
        identities.append(pair.identity())
    assert identities[0] == identities[2] != identities[1]
    loaded = load_classifier(ModelRef(path=str(tmp_path / "c.safetensors")))
    assert identities[2]["gradient"]["weights_sha256"] == loaded.fingerprint
    assert pair.evaluations(SamplerConfig(num_steps=3)) == {"main": 5, "gradient": 5}
