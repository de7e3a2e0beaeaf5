"""Frechet distance: published values, closed forms, degenerate cases."""

import numpy as np
import pytest
import scipy.linalg
import torch

from edm2lite import frechet_distance
from edm2lite.errors import UserError
from edm2lite.evaluation.metrics.frechet import FrechetReference, frechet_distance_of


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


def correlated(n, dim, seed=0, dead=0):
    """Features float64 [n, dim] of a falling spectrum, some of them always zero."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, dim, generator=g, dtype=torch.float64) * torch.arange(1, dim + 1).double() ** -0.5
    x = x @ torch.linalg.qr(torch.randn(dim, dim, generator=g, dtype=torch.float64)).Q
    x[:, :dead] = 0
    return x


def exact(x, y):
    """By singular values of the product of both sets: no root of a rounding error."""
    n, m = len(x) - 1, len(y) - 1
    xc, yc = x - x.mean(0), y - y.mean(0)
    trace_root = torch.linalg.svdvals(xc @ yc.T).sum() / (n * m) ** 0.5
    apart = (x.mean(0) - y.mean(0)).square().sum()
    return float(apart + xc.square().sum() / n + yc.square().sum() / m - 2 * trace_root)


@pytest.mark.parametrize("dead", [0, 200])
def test_few_images_and_dead_features_against_an_svd(dead):
    real, fake = correlated(1100, 1024, dead=dead), correlated(50, 1024, seed=1, dead=dead)
    reference = FrechetReference(*stats(real))
    assert reference.distance_of(fake) == pytest.approx(exact(fake, real), rel=1e-10)
    assert reference.distance(*stats(fake)) == pytest.approx(
        exact(fake, real), rel=1e-5
    )  # moments alone: what they allow


def test_identical_sets():
    x = correlated(600, 512, dead=8)
    for n in (600, 40):  # more and fewer than features
        mu, sigma = stats(x[:n])
        assert frechet_distance(mu, sigma, mu, sigma) == pytest.approx(0, abs=1e-10)
        assert FrechetReference(mu, sigma).distance_of(x[:n]) == pytest.approx(0, abs=1e-6)
        assert frechet_distance_of(x[:n], x[:n]) == pytest.approx(0, abs=1e-6)
    assert FrechetReference(*stats(x[:40])).root.shape == (512, 39)
    constant = torch.ones(5, 3)  # no spread at all, on either side
    assert frechet_distance_of(constant, constant) == 0
    assert FrechetReference(torch.zeros(3), torch.zeros(3, 3)).distance_of(constant) == pytest.approx(3)


def test_rounding_makes_no_distance_negative():
    for seed in range(20):
        mu, sigma = stats(correlated(30, 8, seed=seed))
        assert 0 <= frechet_distance(mu, sigma, mu, sigma) < 1e-12


@pytest.mark.parametrize(("n", "m"), [(20, 30), (30, 20), (20, 200), (200, 20), (200, 300)])
def test_two_sets_whichever_is_small(n, m):
    for seed in range(4):
        x, y = correlated(n, 64, seed=seed), correlated(m, 64, seed=seed + 50) + 0.1
        assert frechet_distance_of(x, y) == pytest.approx(exact(x, y), rel=1e-10)


def test_the_formula_for_few_images_meets_the_other_one():
    reference = FrechetReference(*stats(correlated(500, 48)))
    x = correlated(49, 48, seed=1)
    for n in (47, 48, 49):  # two below: by N x N; the last: by D x D
        assert reference.distance_of(x[:n]) == pytest.approx(reference.distance(*stats(x[:n])), rel=1e-6)


@pytest.mark.slow
def test_2048_dimensions_against_scipy():
    x, y = correlated(6000, 2048), correlated(6000, 2048, seed=1) * 1.1 + 0.01
    (mu_x, sigma_x), (mu_y, sigma_y) = stats(x), stats(y)
    root = scipy.linalg.sqrtm(sigma_x.numpy() @ sigma_y.numpy()).real
    expected = float((mu_x - mu_y).square().sum() + sigma_x.trace() + sigma_y.trace()) - 2 * np.trace(root)
    assert frechet_distance(mu_x, sigma_x, mu_y, sigma_y) == pytest.approx(expected, rel=1e-9)


def test_the_reference_is_decomposed_once(monkeypatch):
    calls = []
    for name in ("eigh", "cholesky_ex"):
        real = getattr(torch.linalg, name)
        monkeypatch.setattr(torch.linalg, name, lambda x, name=name, real=real: calls.append(name) or real(x))
    for last, expected in ((1.0, ["cholesky_ex"]), (0.0, ["cholesky_ex", "eigh"])):
        sigma = torch.diag(torch.tensor([1.0, 1, last]))
        reference = FrechetReference(torch.zeros(3), sigma)
        for shift in range(3):
            assert reference.distance(torch.full((3,), float(shift)), sigma) == pytest.approx(3 * shift**2)
        assert calls == expected
        calls.clear()


@pytest.mark.parametrize("condition", [1e2, 1e6, 1e9, 1e11, 1e14, 1e18])
def test_nearly_singular_covariances(condition):
    """On both sides of where Cholesky fails."""
    g = torch.Generator().manual_seed(0)
    values = torch.logspace(0, -np.log10(condition), 40, dtype=torch.float64)
    basis = torch.linalg.qr(torch.randn(40, 40, generator=g, dtype=torch.float64)).Q
    mu, sigma, wider = torch.zeros(40), basis * values @ basis.T, basis * (4 * values) @ basis.T
    assert frechet_distance(mu, sigma, mu, sigma) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(mu, wider, mu, sigma) == pytest.approx(float(values.sum()), rel=1e-6)  # (2 - 1)^2 each


def test_what_is_no_covariance_or_no_feature():
    reference = FrechetReference(torch.zeros(3), torch.eye(3))
    with pytest.raises(UserError, match="negative eigenvalue"):
        reference.distance(torch.zeros(3), -torch.eye(3))
    with pytest.raises(
        UserError, match="distance is -5: these are no covariances"
    ):  # where the reference does not look
        FrechetReference(torch.zeros(2), torch.diag(torch.tensor([1.0, 0]))).distance(
            torch.zeros(2), torch.diag(torch.tensor([1.0, -5]))
        )
    with pytest.raises(UserError, match="negative eigenvalue"):
        FrechetReference(torch.zeros(3), torch.diag(torch.tensor([1.0, 1, -0.1]))).distance(
            torch.zeros(3), torch.eye(3)
        )
    for features, message in (
        (torch.zeros(1, 3), "1 images; this metric takes at least 2"),
        (torch.zeros(9, 4), r"\[9, 4\]; they must be \[N, 3\]"),
        (torch.full((9, 3), torch.nan), "9 of 9 images are not finite"),
    ):
        with pytest.raises(UserError, match=message):
            reference.distance_of(features)
