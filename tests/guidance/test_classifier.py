"""Classifier guidance on data of which everything is known: two Gaussian classes."""

import pytest
import torch

from edm2lite.errors import UserError
from edm2lite.guidance.classifier import classifier_guided

S = 0.4  # standard deviation within a class
MEANS = torch.stack([torch.linspace(-1, 1, 12), torch.cos(torch.arange(12.0))]).double().reshape(2, 3, 2, 2)
LABELS = torch.tensor([0, 1, 1, 0, 1])
X = torch.randn(5, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
LEVELS = {"scalar": 0.7, "each its own": torch.tensor([0.05, 0.3, 1.0, 4.0, 40.0], dtype=torch.float64)}


def variance(sigma):
    return S**2 + torch.as_tensor(sigma, dtype=torch.float64).reshape(-1, 1, 1, 1) ** 2


def classifier(x, sigma):
    """ln N(x; mu_c, s^2 + sigma^2) without what is common to the classes."""
    squares = (x[:, None] - MEANS) ** 2 / (2 * variance(sigma)[:, None])
    return -squares.sum(dim=(2, 3, 4))


def conditional(x, sigma, labels):
    total = variance(sigma)
    return MEANS[labels] + S**2 / total * (x - MEANS[labels])


def unconditional(x, sigma, labels=None):
    p = classifier(x, sigma).softmax(dim=1)
    return sum(p[:, c, None, None, None] * conditional(x, sigma, torch.full((len(x),), c)) for c in range(2))


@pytest.mark.parametrize("sigma", LEVELS.values(), ids=LEVELS)
@pytest.mark.parametrize("scale", [1.0, 2.5, -0.5])
def test_the_exact_classifier_makes_the_exact_conditional_denoiser(sigma, scale):
    """By Bayes' rule sigma^2 grad log p(c | x) = D(x | c) - D(x): scale 1 is conditional, others are as in CFG."""
    with torch.no_grad():  # as in a solver
        guided = classifier_guided(unconditional, classifier, scale)(X, sigma, LABELS)
    main, wanted = unconditional(X, sigma), conditional(X, sigma, LABELS)
    torch.testing.assert_close(guided, main + scale * (wanted - main), rtol=1e-9, atol=1e-9)
    assert not guided.requires_grad and (guided - main).abs().max() > 1e-3


def test_scale_0_is_the_main_model_itself():
    assert classifier_guided(unconditional, classifier, 0.0) is unconditional


def test_labels_are_needed():
    with pytest.raises(UserError, match="needs labels"):
        classifier_guided(unconditional, classifier, 1.0)(X, 1.0)


def test_a_sample_does_not_depend_on_its_neighbours():
    denoise = classifier_guided(unconditional, classifier, 1.5)
    alone = torch.cat([denoise(X[i : i + 1], 0.5, LABELS[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(denoise(X, 0.5, LABELS), alone, rtol=1e-12, atol=1e-12)


def test_attributes_and_labels_of_the_main_are_passed_on():
    class Main:
        label_dim = 7

        def __call__(self, x, sigma, labels):
            self.labels = labels
            return x.float()

    main = Main()
    denoise = classifier_guided(main, classifier, 1.0)
    assert denoise(X, 1.0, LABELS).dtype == torch.float32, "of the main's type"
    assert denoise.label_dim == 7 and main.labels is LABELS
