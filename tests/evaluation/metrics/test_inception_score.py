"""Inception Score: torch-fidelity's numbers, closed forms, the error by definition."""

import numpy as np
import pytest
import torch
from torch_fidelity.metric_isc import isc_features_to_metric

from edm2lite.errors import UserError
from edm2lite.evaluation.metrics.inception_score import inception_score_estimate
from edm2lite.evaluation.metrics.uncertainty import jackknife_groups


def logits(n=503, classes=20):
    return 3 * torch.randn(n, classes, generator=torch.Generator().manual_seed(0))


def groups(n, count=10):
    return torch.from_numpy(jackknife_groups(n, count))


def test_equal_to_torch_fidelity():
    theirs = isc_features_to_metric(logits())
    ours = inception_score_estimate(logits(), groups(503))
    assert ours.value == pytest.approx(theirs["inception_score_mean"], rel=1e-12)
    assert ours.details["split_sd"] == pytest.approx(theirs["inception_score_std"], rel=1e-10)


def test_closed_forms():
    sure = 1000 * torch.eye(5)[:4].repeat(
        50, 1
    )  # one class each, four alike; the fifth is never: its probability is zero
    assert inception_score_estimate(sure, groups(200), splits=1).value == pytest.approx(4)
    assert inception_score_estimate(torch.zeros(200, 4), groups(200)).value == pytest.approx(1)


def test_without_a_group_is_without_its_images():
    x, g = logits(), groups(503)
    found, order = (
        inception_score_estimate(x, g, splits=3),
        torch.from_numpy(np.random.RandomState(2020).permutation(503)),
    )
    for group in (0, 7):
        scores = []
        for i in range(3):
            index = order[i * 503 // 3 : (i + 1) * 503 // 3]
            p = x[index][g[index] != group].double().softmax(dim=1)
            scores.append((p * (p.log() - p.mean(0).log())).sum(1).mean().exp().item())
        assert found.leave_one_out[group] == pytest.approx(np.mean(scores), rel=1e-12)


def test_few_images():
    assert inception_score_estimate(logits(10), groups(10)).leave_one_out == ()  # a split of one image cannot lose it
    with pytest.raises(UserError, match="9 images; this metric takes at least 10"):
        inception_score_estimate(logits(9), groups(9))
