"""Kernel distance: torch-fidelity's numbers, the error by definition."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_kid import kernel_mmd, kid_features_to_metric

from edm2lite.evaluation.metrics.kernel import kernel_estimate
from edm2lite.evaluation.metrics.uncertainty import jackknife_groups, jackknife_se


def sets(n=300, m=400, dim=32, dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(n, dim, generator=g, dtype=dtype) + 0.1
    return x, torch.randn(m, dim, generator=g, dtype=dtype).abs(), torch.from_numpy(jackknife_groups(n))


@pytest.mark.parametrize(("dtype", "rel"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_equal_to_torch_fidelity(dtype, rel):
    x, y, groups = sets(dtype=dtype)
    theirs = kid_features_to_metric(x, y, kid_subset_size=100, verbose=False)  # its 100 subsets and seed
    ours = kernel_estimate(x, y, groups, subset_size=100)
    assert ours.value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=rel)
    assert ours.details["subset_sd"] == pytest.approx(theirs["kernel_inception_distance_std"], rel=rel)


def test_few_images_make_smaller_subsets():
    x, y, groups = sets(n=40)
    found = kernel_estimate(x, y, groups, subsets=3)
    assert found.details["subset_size"] == 40
    theirs = kid_features_to_metric(x, y, kid_subset_size=40, kid_subsets=3, verbose=False)
    assert found.value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-12)


def mmd(x, y):
    """Unbiased MMD^2 of sets of any sizes, by double loops' sums."""
    k = lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3  # noqa: E731
    n, m = len(x), len(y)
    xx, yy = k(x, x), k(y, y)
    return (
        (xx.sum() - xx.trace()) / (n * (n - 1)) + (yy.sum() - yy.trace()) / (m * (m - 1)) - 2 * k(x, y).mean()
    ).item()


def test_without_a_group_is_without_its_images():
    x, y, groups = sets(n=60)
    found = kernel_estimate(x, y, groups, subsets=4, subset_size=30)
    rng, expected = np.random.RandomState(2020), np.zeros((4, 11))
    for row in expected:
        i, j = rng.choice(60, 30, replace=False), rng.choice(400, 30, replace=False)
        kept = [np.ones(30, bool), *((groups[i] != g).numpy() for g in range(10))]
        row[:] = [mmd(x[i][keep], y[j]) for keep in kept]
        options = {"kid_kernel": "poly", "verbose": False}
        assert row[0] == pytest.approx(kernel_mmd(x[i].numpy(), y[j].numpy(), **options), rel=1e-12)
    np.testing.assert_allclose([found.value, *found.leave_one_out], expected.mean(axis=0), rtol=1e-12)


def test_no_error_where_a_subset_would_be_left_empty():
    x, y, _ = sets(n=3)
    assert kernel_estimate(x, y, torch.tensor([0, 1, 1]), subsets=2).leave_one_out == ()


@pytest.mark.slow
def test_the_error_is_that_of_fresh_images():
    """The jackknife's error against the spread of 60 independent sets; the spread over subsets is far off."""
    g = torch.Generator().manual_seed(1)
    y = torch.randn(2000, 16, generator=g, dtype=torch.float64)
    values, errors, spreads = [], [], []
    for _ in range(60):
        x = 1.2 * torch.randn(2000, 16, generator=g, dtype=torch.float64)
        found = kernel_estimate(x, y, torch.from_numpy(jackknife_groups(2000)), subsets=50, subset_size=200)
        values.append(found.value)
        errors.append(jackknife_se(found.leave_one_out))
        spreads.append(found.details["subset_sd"])
    sd = np.std(values)
    assert (
        0.7 < np.sqrt(np.mean(np.square(errors))) / sd < 1.4
    )  # 60 runs tell a spread to 9 %, each error has 9 degrees
    assert np.mean(spreads) / sd > 1.8
