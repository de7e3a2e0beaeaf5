"""Precision, recall, density, coverage: the prdc package's numbers, ties, the error by definition, memory."""

import numpy as np
import pytest
import torch
from prdc import compute_prdc

from edm2lite.errors import UserError
from edm2lite.evaluation.metrics import neighbours, prdc
from edm2lite.evaluation.metrics.neighbours import Manifold, pair_distances
from edm2lite.evaluation.metrics.prdc import prdc_estimates
from edm2lite.evaluation.metrics.uncertainty import jackknife_groups

NAMES = ("precision", "recall", "density", "coverage")


def sets(n=500, m=400, dim=16):
    g = torch.Generator().manual_seed(0)
    return 0.8 * torch.randn(n, dim, generator=g) + 0.2, torch.randn(m, dim, generator=g)


def ours(fake, real, k, groups=10):
    return prdc_estimates(
        fake, Manifold(real, k), torch.from_numpy(jackknife_groups(len(fake), groups)), dict.fromkeys(NAMES, k)
    )


def theirs(fake, real, k):
    return compute_prdc(real.numpy(), fake.numpy(), nearest_k=k)


def same(found, expected, abs=1e-12):
    for name in NAMES:
        assert found[name].value == pytest.approx(expected[name], abs=abs), name


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("block", [(2048, 4096), (64, 37)])
def test_equal_to_prdc(k, block, monkeypatch):
    monkeypatch.setattr(neighbours, "ROWS", block[0])
    monkeypatch.setattr(prdc, "ROWS", block[0])
    monkeypatch.setattr(neighbours, "COLUMNS", block[1])
    fake, real = sets()
    expected = theirs(fake, real, k)
    assert all(expected[name] > 0 for name in NAMES)
    same(ours(fake, real, k), expected)


@pytest.mark.parametrize("dim", [3, 20])
def test_ties_and_copies(dim):
    """On a grid nearly all distances are tied, and many points are copies."""
    fake, real = (x.mul(1.5).round() for x in sets(dim=dim))
    same(ours(fake, real, 3), theirs(fake, real, 3))
    same(ours(real, real, 3), theirs(real, real, 3))


def test_ties_that_float32_breaks():
    """0.1 is not exact in binary: which of two nearly equal distances is the smaller is rounding, here and there."""
    fake, real = (x.mul(1.5).round() * 0.1 for x in sets(dim=3))
    same(ours(fake, real, 3), theirs(fake, real, 3), abs=3 / 400)


def test_each_with_its_own_k():
    fake, real = sets()
    k = {"precision": 3, "recall": 2, "density": 5, "coverage": 4}
    found = prdc_estimates(fake, Manifold(real, 5), torch.from_numpy(jackknife_groups(500)), k)
    for name in NAMES:
        assert found[name].value == pytest.approx(theirs(fake, real, k[name])[name], abs=1e-12)


def test_without_a_group_is_without_its_images():
    fake, real = sets(n=90)
    groups = torch.from_numpy(jackknife_groups(90))
    found = ours(fake, real, 3)
    for group in (0, 9):
        expected = theirs(fake[groups != group], real, 3)
        for name in NAMES:
            assert found[name].leave_one_out[group] == pytest.approx(expected[name], abs=1e-12), name


def test_far_from_the_origin():
    fake, real = sets()
    same(ours(fake + 512, real + 512, 3), theirs((fake + 512) - 512, (real + 512) - 512, 3))


def test_copies_are_at_distance_zero():
    x = torch.randn(50, 700, dtype=torch.float64) + 3
    distances = pair_distances(x, x)
    assert (distances.diagonal() == 0).all()
    np.testing.assert_allclose(distances, torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist"), rtol=1e-6)


def test_no_matrix_of_all_pairs(monkeypatch):
    largest = []
    monkeypatch.setattr(neighbours, "ROWS", 50)
    monkeypatch.setattr(prdc, "ROWS", 50)
    monkeypatch.setattr(neighbours, "COLUMNS", 60)

    def seen(x, y):
        largest.append(len(x) * len(y))
        return pair_distances(x, y)

    monkeypatch.setattr(neighbours, "pair_distances", seen)
    monkeypatch.setattr(prdc, "pair_distances", seen)
    ours(*sets(), 3)
    assert max(largest) <= 50 * 60 and sum(largest) == 400**2 + 500**2 + 400 * 500


def test_few_images():
    fake, real = sets(n=5, m=10)
    same(ours(fake, real, 3), theirs(fake, real, 3))
    found = ours(fake, real, 4, groups=5)  # without one, none of the others has 4 neighbours
    assert found["recall"].leave_one_out == () and len(found["precision"].leave_one_out) == 5
    with pytest.raises(UserError, match="4 images; this metric takes at least 5"):
        ours(fake[:4], real, 4)
    with pytest.raises(UserError, match="3 images; this metric takes at least 5"):
        ours(fake, real[:3], 4)
