"""Detectors in half precision: nearly the same features, of another identity."""

import pytest
import torch

from edm2lite.data.digits import load_digits
from edm2lite.errors import UserError
from edm2lite.evaluation.detectors.custom import load_custom
from edm2lite.evaluation.detectors.dinov2 import DINOv2
from edm2lite.evaluation.detectors.half import halved
from edm2lite.evaluation.detectors.inception import Inception
from edm2lite.evaluation.detectors.small import load_classifier
from edm2lite.network.precision import DTYPES
from tests.evaluation.detectors.random_weights import random_images, randomise
from tests.evaluation.detectors.test_dinov2 import TINY


def digits():
    return load_classifier("digits"), torch.from_numpy(load_digits().images[:40])


def dinov2():
    net = DINOv2(**TINY)
    net.weights_sha256 = "random"
    return net, random_images(4, 3, 20, 20)


def inception():
    net = Inception()
    net.weights_sha256 = "random"
    return net, random_images(1, 3, 20, 20)


MADE = [pytest.param(digits), pytest.param(dinov2), pytest.param(inception, marks=pytest.mark.slow)]


@pytest.mark.parametrize("make", MADE)
@pytest.mark.parametrize(("precision", "error"), [("bf16", 2**-8), ("fp16", 2**-11)])
def test_features_are_rounded_and_the_detector_is_another(make, precision, error):
    net, images = make()
    if net.weights_sha256 == "random":
        randomise(net)
    net.eval().requires_grad_(False)
    before = net(images)
    half = halved(net, precision)
    x = half(images)
    apart = float((x - before).norm() / before.norm())
    assert x.dtype == torch.float32 and 0.1 * error < apart < 6 * error, apart
    assert half.identity == net.identity | {"precision": precision} and "precision" not in net.identity
    assert net(images).equal(before), "the other one is as it was"
    dtypes = {name: p.dtype for name, p in half.named_parameters()}
    assert DTYPES[precision] in dtypes.values()
    assert all(d == torch.float32 for name, d in dtypes.items() if ".bn." in name or name.startswith(("out.", "fc.")))
    if (logits := net.logits(before)) is not None:
        assert half.logits(before).equal(logits)


def test_a_module_of_somebody_elses_computes_as_it_is_written():
    with pytest.raises(UserError, match="patchwork computes as it is written; leave detector_precision out"):
        halved(load_custom("tests.evaluation.detectors_for_tests:patchwork"), "bf16")
