"""The 2D distribution: parity, closed forms, and what a density, its score and its samples owe each other."""

import math

import pytest
import torch
from scipy import stats

from edm2lite.errors import UserError
from edm2lite.toy2d import ground_truth
from edm2lite.toy2d.tree import COMPONENTS

SIGMAS = (0.002, 0.05, 0.5, 3.0)


def dense_logp(truth, x, sigma):
    """The density written down component by component, as torch.distributions has it."""
    covariance = truth.covariances + sigma**2 * torch.eye(2, dtype=torch.float64)
    parts = torch.distributions.MultivariateNormal(truth.means, covariance)
    return torch.distributions.MixtureSameFamily(torch.distributions.Categorical(truth.weights), parts).log_prob(x)


def points(truth, n=64, spread=0.3):
    generator = torch.Generator().manual_seed(0)
    return truth.sample(n, 0.0, generator) + spread * torch.randn(n, 2, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("classes", ["A", "B", "AB"])
def test_parity_of_density_and_score(golden, classes):
    expected = {k.removeprefix(f"{classes}/"): v for k, v in golden("toy2d").items() if k.startswith(f"{classes}/")}
    truth, x, sigma = ground_truth(classes), expected["x"].double(), expected["sigma"]
    torch.testing.assert_close(truth.logp(x, sigma), expected["logp"], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(truth.score(x, sigma), expected["score"], rtol=1e-6, atol=1e-5)
    if "means" in expected:
        assert torch.equal(truth.means.float(), expected["means"])
        assert torch.equal(truth.covariances.float(), expected["covariances"])
        torch.testing.assert_close(truth.weights.float(), expected["weights"])


@pytest.mark.parametrize("sigma", SIGMAS)
def test_density_is_that_of_its_components(sigma):
    truth = ground_truth("AB")
    x = points(truth)
    torch.testing.assert_close(truth.logp(x, sigma), dense_logp(truth, x, sigma), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_score_is_the_gradient_of_the_log_density(sigma):
    truth = ground_truth("A")
    x = points(truth).requires_grad_()
    (gradient,) = torch.autograd.grad(truth.logp(x, sigma).sum(), x)
    torch.testing.assert_close(truth.score(x.detach(), sigma), gradient, rtol=1e-9, atol=1e-9)


def test_density_obeys_the_heat_equation():
    """d p / d sigma^2 = (Laplacian of p) / 2, so d log p / d sigma^2 = (div s + |s|^2) / 2: noise levels belong together."""
    truth, variance, h = ground_truth("A"), 0.04, 1e-5
    x = points(truth, 32).requires_grad_()
    change = (truth.logp(x, (variance + h) ** 0.5) - truth.logp(x, (variance - h) ** 0.5)) / (2 * h)
    axes = torch.eye(2, dtype=torch.float64) * h
    divergence = sum(((truth.score(x + e, 0.2) - truth.score(x - e, 0.2)) / (2 * h))[:, i] for i, e in enumerate(axes))
    torch.testing.assert_close(change, (divergence + truth.score(x, 0.2).square().sum(1)) / 2, rtol=1e-5, atol=1e-4)


def test_density_integrates_to_one():
    axis = torch.linspace(-3, 3, 81, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    total = ground_truth("A").logp(grid, 0.1).exp().sum() * (axis[1] - axis[0]) ** 2
    assert float(total) == pytest.approx(1, abs=1e-6)


def test_both_classes_are_the_mixture_of_each():
    a, b, both = (ground_truth(c) for c in ("A", "B", "AB"))
    x = points(both)
    joined = torch.logaddexp(a.logp(x, 0.1) + math.log(0.4770110), b.logp(x, 0.1) + math.log(1 - 0.4770110))
    torch.testing.assert_close(both.logp(x, 0.1), joined, rtol=0, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.0, 0.05, torch.linspace(0.0, 1.0, 200_000, dtype=torch.float64)])
def test_samples_pass_chi_square_tests_of_every_component(sigma):
    """How many are from each; and of its points the squared distances in its covariance: chi2 with 2n degrees."""
    truth, n = ground_truth("A"), 200_000
    x, component = truth.draw(n, sigma, torch.Generator().manual_seed(1))
    counts = component.bincount(minlength=len(truth.weights))
    assert stats.chisquare(counts, n * truth.weights).pvalue > 1e-3
    level = torch.as_tensor(sigma, dtype=torch.float64).expand(n)
    covariance = truth.covariances[component] + level[:, None, None] ** 2 * torch.eye(2, dtype=torch.float64)
    gap = x - truth.means[component]
    square = (torch.linalg.solve(covariance, gap) * gap).sum(1)
    total = torch.zeros(len(counts), dtype=torch.float64).index_add_(0, component, square)
    p = stats.chi2.cdf(total, 2 * counts)
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    assert p.min() > 1e-7 and p.max() < 1 - 1e-7


def test_samples_are_where_the_density_says():
    """E[score] = 0 and E[score x'] = -I over samples: both would fail for another scale, place or noise."""
    truth = ground_truth("B")
    x = truth.sample(10_000, 0.3, torch.Generator().manual_seed(2))
    score = truth.score(x, 0.3)
    assert score.mean(0).abs().max() < 0.1
    torch.testing.assert_close(score.T @ x / len(x), -torch.eye(2, dtype=torch.float64), rtol=0, atol=0.1)


def test_responsibilities_are_those_of_bayes_rule():
    truth = ground_truth("A")
    x = truth.means[::50] + 1e-3
    shares = truth.responsibilities(x, 0.01)
    assert shares.shape == (len(x), 1016)
    torch.testing.assert_close(shares.sum(1), torch.ones(len(x), dtype=torch.float64))
    covariance = truth.covariances + 1e-4 * torch.eye(2, dtype=torch.float64)
    parts = torch.distributions.MultivariateNormal(truth.means, covariance).log_prob(x[:, None]) + truth.weights.log()
    torch.testing.assert_close(shares, parts.softmax(1), rtol=1e-9, atol=1e-12)


def test_the_tree():
    rows = ground_truth("A").branches
    assert len(rows) == 127 and len(rows[0].means) == COMPONENTS
    assert [sum(b.depth == d for b in rows) for d in range(8)] == [1, 2, 4, 8, 16, 32, 64, 0]
    assert len({b.path for b in rows}) == 127
    assert [b.label for b in ground_truth("AB").branches] == ["A"] * 127 + ["B"] * 127


def test_types_and_noise_levels_of_any_kind():
    truth = ground_truth("A")
    x = points(truth, 6).float()
    assert truth.logp(x, 0.1).dtype == torch.float32 and truth.score(x, torch.tensor(0.1)).dtype == torch.float32
    levels = torch.tensor([0.1, 0.2, 0.1, 0.5, 0.1, 2.0])
    one_by_one = torch.cat([truth.logp(x[i : i + 1], float(s)) for i, s in enumerate(levels)])
    torch.testing.assert_close(truth.logp(x, levels), one_by_one)
    fast = ground_truth("A", torch.float32)
    torch.testing.assert_close(fast.score(x, levels), truth.score(x, levels), rtol=1e-3, atol=1e-3)


def test_same_generator_same_samples():
    truth = ground_truth("AB")
    a, b, c = (truth.sample(10, 0.1, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_unknown_classes_are_refused():
    with pytest.raises(UserError, match=r"2D example.*C.*A, "):
        ground_truth("C")
