"""Inception against torch-fidelity's with the same random weights; its resizing to the pixel."""

import hashlib

import numpy as np
import pytest
import torch

from edm2lite.evaluation.detectors.inception import WEIGHTS, Inception, resize_tf1
from edm2lite.evaluation.detectors.weights import WeightsFile, load_published
from tests.evaluation.detectors.random_weights import random_images, randomise


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file as torch-fidelity publishes it."""
    net = Inception()
    randomise(net)
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save(net.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def net(weights):
    sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
    file = WeightsFile("inception", WEIGHTS.name, "", weights.stat().st_size, sha256)
    return load_published(Inception, file, str(weights)).eval().requires_grad_(False)


def close(x, y):
    torch.testing.assert_close(x, y, rtol=0, atol=1e-5 * float(y.abs().max()))


def test_features_and_logits_are_torch_fidelitys(net, weights):
    room = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    oracle = room.FeatureExtractorInceptionV3("oracle", ["2048", "logits_unbiased"], str(weights))
    for height, width in ((64, 64), (512, 512), (48, 80)):
        images = random_images(1, 3, height, width)
        features, logits = oracle(images)
        assert features.shape == (1, net.dim) and features.std() > 0.1 and logits.std() > 0.1
        close(net(images), features)
        close(net.logits(net(images)), logits)


def by_loop(image, size):
    """TensorFlow 1's formula for one channel [H, W], a pixel at a time."""
    f32, (height, width) = np.float32, image.shape
    out = np.zeros((size, size), f32)
    for i in range(size):
        for j in range(size):
            y, x = f32(i) * f32(height / size), f32(j) * f32(width / size)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = image[top, left] + (image[top, right] - image[top, left]) * f32(x - f32(left))
            lower = image[bottom, left] + (image[bottom, right] - image[bottom, left]) * f32(x - f32(left))
            out[i, j] = upper + (lower - upper) * f32(y - f32(top))
    return out


@pytest.mark.parametrize("shape", [(7, 5), (40, 33), (23, 23), (1, 1)])
def test_resizing_is_tensorflows_to_the_bit(shape):
    image = random_images(*shape).float()
    np.testing.assert_array_equal(resize_tf1(image[None, None], 23)[0, 0].numpy(), by_loop(image.numpy(), 23))


@pytest.mark.parametrize("side", [32, 512])
def test_resizing_is_torch_fidelitys_to_the_bit(side):
    room = pytest.importorskip("torch_fidelity.interpolate_compat_tensorflow")
    images = random_images(1, 3, side, side + 3).float()
    expected = room.interpolate_bilinear_2d_like_tensorflow1x(images, size=(299, 299), align_corners=False)
    assert torch.equal(resize_tf1(images, 299), expected)


def test_batch_mates_grey_and_autocast_change_nothing(net):
    images = random_images(3, 1, 20, 24)
    features = net(images.expand(-1, 3, -1, -1))
    assert torch.equal(net(images), features)
    others = torch.cat([images[:1], random_images(2, 1, 20, 24, seed=1)])
    assert torch.equal(net(others)[0], features[0]) and not torch.equal(net(others)[1], features[1])
    close(net(images[2:]), features[2:])
    logits = net.logits(features)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(net(images), features) and torch.equal(net.logits(features), logits)


def test_what_it_says_of_itself(net):
    assert net.identity["detector"] == "inception-2015-12-05" and net.identity["preprocessing"] == "tf1-bilinear-299"
    assert len(net.identity["weights_sha256"]) == 64 and net.image_shape is None
