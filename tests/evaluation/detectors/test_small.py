"""The bundled detectors: good, deterministic, cached."""

import os
from pathlib import Path

import pytest
import torch

from edm2lite.data.digits import load_digits
from edm2lite.errors import UserError
from edm2lite.evaluation.detectors.small import load_classifier, train_classifier


def test_training_is_deterministic_and_leaves_the_global_stream_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    a = train_classifier(load_digits())
    assert torch.equal(torch.rand(3), expected)
    torch.set_num_threads(2)
    b = load_classifier("digits")
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.equal(p, q)
    data = load_digits()
    correct = a.out(a(torch.from_numpy(data.images))).argmax(1) == torch.from_numpy(data.labels)
    assert correct.float().mean() > 0.97


def test_features_do_not_depend_on_the_batch():
    net, images = load_classifier("digits"), torch.from_numpy(load_digits().images[:50])
    whole = net(images)
    assert whole.shape == (50, 64) and whole.dtype == torch.float32
    torch.testing.assert_close(torch.cat([net(part) for part in images.split(7)]), whole, rtol=1e-5, atol=1e-5)


def test_cached_once_under_its_name():
    first = load_classifier("digits")
    path = Path(os.environ["EDM2LITE_CACHE"]) / "digits-classifier-v1.safetensors"
    written = path.stat().st_mtime_ns
    assert load_classifier("digits").weights_sha256 == first.weights_sha256
    assert path.stat().st_mtime_ns == written


def test_errors(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="choose one of: digits, patches"):
        load_classifier("imagenet")
    monkeypatch.setenv("EDM2LITE_CACHE", str(tmp_path))
    (tmp_path / "digits-classifier-v1.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"damaged .* delete the file"):
        load_classifier("digits")
