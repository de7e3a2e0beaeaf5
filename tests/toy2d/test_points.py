"""Sampling of points: the package's guidance and solvers on distributions that are known."""

import pytest
import torch

from edm2lite.config import ClassifierConfig, GuidanceConfig, GuideConfig, ModelRef, SamplerConfig
from edm2lite.errors import UserError
from edm2lite.toy2d import ground_truth
from edm2lite.toy2d.models import exact_classifier, load
from edm2lite.toy2d.points import Guided2d
from edm2lite.toy2d.truth import CLASSES

A, BOTH = ModelRef(path="exact:A"), ModelRef(path="exact:AB")
FEW = SamplerConfig(num_steps=8, sigma_max=5.0)
SEEDS = range(20)


def by_classifier(scale):
    return GuidanceConfig(classifier=ClassifierConfig(path="exact", scale=scale))


def test_exact_denoiser_is_the_posterior_mean():
    truth, x = ground_truth("A"), ground_truth("A").sample(20, 0.3, torch.Generator().manual_seed(0))
    denoised = load(A)(x[..., None, None], 0.3).flatten(1)
    shares = truth.responsibilities(x, 0.3)
    noisy = truth.covariances + 0.09 * torch.eye(2, dtype=torch.float64)
    gain = truth.covariances @ torch.linalg.inv(noisy)  # of each component's own posterior mean
    means = truth.means + torch.einsum("kij,nkj->nki", gain, x[:, None] - truth.means)
    torch.testing.assert_close(denoised, torch.einsum("nk,nki->ni", shares, means), rtol=1e-8, atol=1e-8)


def test_exact_classifier_is_bayes_rule_and_so_is_its_gradient():
    both, a = ground_truth("AB"), ground_truth("A")
    x = both.sample(30, 0.2, torch.Generator().manual_seed(0))[..., None, None].requires_grad_()
    logits = exact_classifier(x, 0.2)
    torch.testing.assert_close(logits.logsumexp(1), both.logp(x.detach().flatten(1), 0.2))
    (gradient,) = torch.autograd.grad(logits.log_softmax(1)[:, 0].sum(), x)
    points = x.detach().flatten(1)
    torch.testing.assert_close(gradient.flatten(1), a.score(points, 0.2) - both.score(points, 0.2))


def test_both_classes_led_by_the_classifier_are_class_a():
    """Bayes' rule, through classifier guidance and the solver."""
    led = Guided2d(BOTH, (), by_classifier(1.0), FEW, dtype=torch.float64)(SEEDS)
    torch.testing.assert_close(led, Guided2d(A, sampler=FEW, dtype=torch.float64)(SEEDS), rtol=1e-7, atol=1e-7)


def test_classifier_free_guidance_is_classifier_guidance_where_both_are_exact():
    guide = GuideConfig(path="exact:AB", weight=3.0)
    free = Guided2d(A, [guide], GuidanceConfig(), FEW, dtype=torch.float64)(SEEDS)
    led = Guided2d(A, (), by_classifier(2.0), FEW, dtype=torch.float64)(SEEDS)
    torch.testing.assert_close(free, led, rtol=1e-7, atol=1e-7)


def test_a_classifier_leads_to_either_class():
    for label in "AB":
        x = Guided2d(BOTH, (), by_classifier(1.0), FEW, label)(SEEDS)
        logp = {c: ground_truth(c).logp(x, 0.05) for c in CLASSES if len(c) == 1}
        assert (logp[label] == torch.stack(list(logp.values())).amax(0)).float().mean() > 0.9


def test_a_guide_that_is_the_main_changes_nothing_at_any_weight():
    alone = Guided2d(A, sampler=FEW)(SEEDS)
    guided = Guided2d(A, [GuideConfig(path="exact:A", weight=4.0)], sampler=FEW)(SEEDS)
    torch.testing.assert_close(guided, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("sampler", [FEW, SamplerConfig(num_steps=8, sigma_max=5.0, S_churn=10.0)])
def test_a_point_depends_on_its_seed_alone(sampler):
    pair = Guided2d(A, [GuideConfig(path="exact:AB", weight=2.0)], GuidanceConfig(), sampler)
    together = pair(range(10))
    torch.testing.assert_close(pair([7, 3]), together[[7, 3]], rtol=0, atol=1e-4)


def test_every_evaluation_is_recorded_and_noise_can_be_given():
    seen = []
    pair, noise = Guided2d(A, sampler=FEW, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    points = pair(range(5), noise, lambda sigma, x: seen.append((sigma, x)))
    assert len(seen) == 15 and points.dtype == torch.float64
    assert seen[0][0] == pytest.approx(5) and torch.allclose(seen[0][1], noise * 5)


def test_the_exact_model_gives_the_exact_distribution():
    """Samples lie where true points do, and are as dense there on average: 1.33 of the truth."""
    x = Guided2d(A, sampler=SamplerConfig(sigma_max=20.0, num_steps=40))(range(500)).double()
    truth = ground_truth("A")
    inside = truth.logp(x, 0.002) > -50
    assert inside.float().mean() > 0.99
    assert truth.logp(x[inside], 0.002).mean() == pytest.approx(1.33, abs=0.2)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (lambda: load(ModelRef(path="exact:C")), "exact:C.*exact:A"),
        (lambda: load(ModelRef(path="exact:A", dropout=0.1)), "dropout of exact:A is set"),
        (lambda: load(ModelRef(path="exact:A", ema=0.05)), "ema of exact:A is set"),
        (lambda: load(ModelRef(path="nowhere")), "model of the 2D example nowhere does not exist"),
        (lambda: Guided2d(A, (), GuidanceConfig(classifier=ClassifierConfig(path="x", scale=1.0))), "one classifier"),
    ],
)
def test_what_the_example_has_not_is_refused(given, says):
    with pytest.raises(UserError, match=says):
        given()
