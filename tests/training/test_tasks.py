"""What a step computes: losses in closed form, and the noise that the network sees."""

import math

import pytest
import torch

from edm2lite.config import DataConfig, TrainingConfig
from edm2lite.data.datasets import load_dataset
from edm2lite.data.positions import PositionDataset
from edm2lite.network.classifier import Classifier
from edm2lite.training.loss import noise_levels, weighted_loss
from edm2lite.training.tasks import classification, step_values
from tests.conftest import TINY, tiny_denoiser

CFG = TrainingConfig(P_mean=-0.3, P_std=1.1)


@pytest.fixture
def batch():
    return PositionDataset(load_dataset(DataConfig(name="digits")), 0).__getitems__([3, 4, 5, 6])


def test_cross_entropy_and_accuracy():
    p = torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]])
    values = classification(p.log() + 5.0, torch.tensor([0, 1]))
    torch.testing.assert_close(values["loss"], torch.tensor([-math.log(0.7), -math.log(0.3)]))
    assert values["accuracy"].tolist() == [1, 0]


@pytest.mark.parametrize("p", [0.0, 0.25])
def test_a_classifier_sees_noisy_images_at_training_noise_levels(batch, p):
    torch.manual_seed(0)
    net = Classifier(8, 1, 10, type(TINY)(**{**TINY.__dict__, "dropout": p}))
    torch.nn.init.ones_(net.out_gain)
    sigma = noise_levels(batch.normals, -0.3, 1.1)
    logits = net(batch.images + sigma.reshape(-1, 1, 1, 1) * batch.noise, sigma, (p, batch.keys) if p else None)
    values, expected = step_values(net, batch, CFG), classification(logits, batch.labels)
    assert values.keys() == {"loss", "accuracy"} and values["loss"].shape == (4,)
    assert all(torch.equal(values[name], expected[name]) for name in expected)


def test_a_denoiser_has_the_loss_of_every_element(batch):
    net = tiny_denoiser(label_dim=10, dropout=0.25)
    values = step_values(net, batch, CFG)
    sigma = noise_levels(batch.normals, -0.3, 1.1)
    expected = weighted_loss(net, batch.images, batch.labels, sigma, batch.noise, (0.25, batch.keys))
    assert values.keys() == {"loss"} and torch.equal(values["loss"], expected)
