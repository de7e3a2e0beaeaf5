"""Streaming moments: batches, groups, shards, large means."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from edm2lite.errors import UserError
from edm2lite.evaluation.metrics.moments import Moments


def data(n=1000, dim=12, shift=100.0):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(0)) * torch.arange(1, dim + 1) + shift


def of(x, groups=None, batch=64, count=1):
    moments = Moments(x.shape[1], count)
    for i in range(0, len(x), batch):
        moments.update(x[i : i + batch], None if groups is None else groups[i : i + batch])
    return moments


def same(a, b, rel=1e-12):
    assert a.count == b.count
    for x, y in ((a.mu, b.mu), (a.sigma, b.sigma)):
        assert (x - y).abs().max() <= rel * y.abs().max()


@pytest.mark.parametrize("batch", [1, 7, 64, 1000, 5000])
def test_equal_to_numpy_whatever_the_batches(batch):
    x = data(5000 if batch == 5000 else 1000)  # 5000: more than are converted at a time
    moments, expected = of(x, batch=batch), x.double().numpy()
    np.testing.assert_allclose(moments.mu, expected.mean(0), rtol=1e-13)
    np.testing.assert_allclose(moments.sigma, np.cov(expected.T), rtol=1e-12, atol=1e-11)
    same(moments, of(x, batch=333))


def test_a_mean_much_larger_than_the_spread():
    x = torch.randn(2000, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    far, near = of(x + 2.0**24, batch=100), of((x + 2.0**24) - 2.0**24, batch=100)
    assert (far.sigma - near.sigma).abs().max() < 1e-9  # sums of squares about zero would be wrong by 0.1


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_uneven_shards_are_the_whole(shards):
    x, groups = data(997), torch.arange(997) % 10
    edges = [0, *[13, 700][: shards - 1], 997]
    parts = [of(x[a:b], groups[a:b], 50, 10) for a, b in pairwise(edges)]
    merged = parts[-1]
    for part in parts[:-1]:
        merged.merge(part)
    whole = of(x, groups, 64, 10)
    same(merged, whole)
    same(merged.without(3), whole.without(3))
    same(whole, of(x))


def test_without_a_group_is_without_its_images():
    x, groups = data(200), torch.arange(200) % 7
    moments = of(x, groups, 11, 7)
    for group in range(7):
        same(moments.without(group), of(x[groups != group]))
    same(moments.total(), moments)


def test_errors():
    moments = Moments(3)
    moments.update(torch.zeros(1, 3))
    with pytest.raises(UserError, match="statistics of 1 images"):
        _ = moments.sigma
    with pytest.raises(UserError, match="1 of 2 images are not finite"):
        moments.update(torch.tensor([[1.0, 2, 3], [1, torch.inf, 3]]))
    with pytest.raises(UserError, match="cannot be added"):
        moments.merge(Moments(4))
    assert moments.count == 1
