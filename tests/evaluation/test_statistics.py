"""Streaming statistics and reference files."""

import numpy as np
import pytest
import torch

from edm2lite.errors import UserError
from edm2lite.evaluation.statistics import FeatureStats, ReferenceStats


def test_streaming_equals_numpy_whatever_the_batches():
    x = torch.randn(1000, 12, generator=torch.Generator().manual_seed(0)) * 3 + 100
    reference = x.double().numpy()
    for batch in (1, 7, 64, 1000):
        stats = FeatureStats(12)
        for part in x.split(batch):
            stats.update(part)
        np.testing.assert_allclose(stats.mu, reference.mean(0), rtol=1e-12)
        np.testing.assert_allclose(stats.sigma, np.cov(reference.T), rtol=1e-9, atol=1e-9)


def test_too_few_images():
    stats = FeatureStats(3)
    stats.update(torch.zeros(1, 3))
    with pytest.raises(UserError, match="statistics of 1 images"):
        _ = stats.sigma


def test_reference_files_round_trip_and_refuse_others(tmp_path):
    ref = ReferenceStats(
        mu=np.arange(3.0), sigma=np.eye(3), num_images=10, detector="d", detector_sha256="abc", dataset="digits"
    )
    ref.save(tmp_path / "ref.npz")
    back = ReferenceStats.load(tmp_path / "ref.npz")
    assert (back.mu == ref.mu).all() and (back.sigma == ref.sigma).all()
    assert (back.num_images, back.detector, back.detector_sha256, back.dataset) == (10, "d", "abc", "digits")
    with pytest.raises(UserError, match="do not exist"):
        ReferenceStats.load(tmp_path / "absent.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK nothing")
    np.savez(tmp_path / "other.npz", mu=np.zeros(3), sigma=np.eye(3))
    np.savez(tmp_path / "hostile.npz", mu=np.array([object()], dtype=object), sigma=1, provenance="{}")
    for name in ("bad", "other", "hostile"):
        with pytest.raises(UserError, match="no reference statistics of edm2lite"):
            ReferenceStats.load(tmp_path / f"{name}.npz")
