"""Frechet distance: published values, closed forms, degenerate cases."""

import numpy as np
import pytest
import scipy.linalg
import torch

from edm2lite import frechet_distance
from edm2lite.errors import UserError


def stats(x):
    return x.mean(dim=0), x.T.cov()


@pytest.mark.parametrize(("case", "rel"), [(0, 1e-6), (1, 1e-4), (2, 1e-6)])
def test_published_values(case, rel, golden, meta):
    g = golden("frechet")
    distance = frechet_distance(*stats(g[f"{case}/a"]), *stats(g[f"{case}/b"]))
    assert distance == pytest.approx(meta["frechet"][case], rel=rel)


def test_against_scipy_and_in_both_directions():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(500, 24)) @ rng.normal(size=(24, 24)), rng.normal(size=(700, 24)) + 0.3
    mu, sigma = (a.mean(0), b.mean(0)), (np.cov(a.T), np.cov(b.T))
    root = scipy.linalg.sqrtm(sigma[0] @ sigma[1]).real
    expected = ((mu[0] - mu[1]) ** 2).sum() + np.trace(sigma[0] + sigma[1] - 2 * root)
    assert frechet_distance(mu[0], sigma[0], mu[1], sigma[1]) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(mu[1], sigma[1], mu[0], sigma[0]) == pytest.approx(expected, rel=1e-9)


def test_closed_forms():
    eye = np.eye(3)
    assert frechet_distance(np.zeros(3), eye, np.array([3.0, 4, 0]), eye) == pytest.approx(25)
    assert frechet_distance(np.zeros(3), 4 * eye, np.zeros(3), 9 * eye) == pytest.approx(3 * (2 - 3) ** 2)
    dead = np.diag([1.0, 0, 0])
    assert frechet_distance(np.zeros(3), dead, np.zeros(3), dead) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(np.zeros(3), dead, np.zeros(3), eye) == pytest.approx(2)


def test_errors():
    with pytest.raises(UserError, match="shapes"):
        frechet_distance(torch.zeros(3), torch.eye(3), torch.zeros(4), torch.eye(4))
    with pytest.raises(UserError, match="not finite"):
        frechet_distance(torch.zeros(3), torch.eye(3) * torch.nan, torch.zeros(3), torch.eye(3))
