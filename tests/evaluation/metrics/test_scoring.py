"""Any metric from features: dispatch, errors of the number, bad input."""

import numpy as np
import pytest
import torch

from edm2lite.config.metrics import KINDS, Metric, parse_metrics
from edm2lite.errors import UserError
from edm2lite.evaluation.detectors.detector import Detector
from edm2lite.evaluation.metrics import scoring
from edm2lite.evaluation.metrics.frechet import FrechetReference
from edm2lite.evaluation.metrics.protocol import needs_features, needs_labels, protocol
from edm2lite.evaluation.metrics.scoring import reference_manifold, scores
from edm2lite.evaluation.metrics.uncertainty import extrapolate, jackknife_se
from edm2lite.evaluation.reference import Statistics

DIM = 8


class Linear(Detector):
    name, title, dim, preprocessing, weights_sha256 = "linear", "linear-v1", DIM, "none", "0" * 64

    def forward(self, images):
        return images.flatten(1).float()

    def logits(self, features):
        return 3 * features[:, :4]


class Headless(Linear):
    def logits(self, features):
        return None


def score(metric, *arguments, **more):
    return scores([metric], *arguments, **more)[metric]


def features(n, seed=1):
    return torch.randn(n, DIM, generator=torch.Generator().manual_seed(seed)) * 0.9


def labels(n):
    return torch.arange(n) % 3


def statistics(n=150, **changes):
    x = features(n, seed=0).numpy()
    given = {
        "mu": x.mean(0, dtype=np.float64), "sigma": np.cov(x.T.astype(np.float64)), "num_images": n, "features": x,
        "labels": labels(n).numpy(), **changes,
    }  # fmt: skip
    return Statistics(**given)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_value_an_error_and_a_protocol(kind):
    found = score(Metric(kind), features(100), statistics(), labels=labels(100), detector=Linear())
    assert np.isfinite(found.value) and found.num_images == 100 and len(found.leave_one_out) == 10
    assert found.se == pytest.approx(jackknife_se(found.leave_one_out)) and found.se > 0
    expected = extrapolate(found.value, found.leave_one_out) if kind == "fd" else None
    assert found.extrapolated == expected
    assert "jackknife_groups" in protocol(Metric(kind)) and len(protocol(Metric(kind))) > 1


def test_several_share_what_they_can(monkeypatch):
    passes, real = [], scoring.prdc_estimates
    monkeypatch.setattr(scoring, "prdc_estimates", lambda *args: passes.append(1) or real(*args))
    metrics = (*parse_metrics(["prdc"]), Metric("fd"))
    stats = statistics()
    found = scores(metrics, features(100), stats)
    assert len(passes) == 1 and len(found) == 5
    manifold, reference = reference_manifold(stats), FrechetReference(stats.mu, stats.sigma)
    for metric in metrics:
        alone = score(metric, features(100), None, reference=reference, manifold=manifold)
        assert alone.value == pytest.approx(found[metric].value, rel=1e-12)


def test_a_distance_of_few_images_is_warned_of_once_and_not_extrapolated(capsys):
    scoring._warn_of_few.cache_clear()
    for _ in range(2):
        assert score(Metric("fd", "digits"), features(DIM), statistics()).extrapolated is None
    assert capsys.readouterr().err.count("warning: FD-digits of 8 images in 8 features") == 1
    assert score(Metric("fd"), features(31), statistics()).extrapolated is None
    assert score(Metric("fd"), features(32), statistics()).extrapolated is not None
    assert not capsys.readouterr().err


def test_two_images_have_a_distance_and_no_error():
    found = score(Metric("fd"), features(2), statistics())
    assert found.value > 0 and found.se is None and found.extrapolated is None


def test_what_metrics_need():
    assert [kind for kind in KINDS if needs_features(Metric(kind))] == [
        "kd", "precision", "recall", "density", "coverage", "fd_per_class"
    ]  # fmt: skip
    assert [kind for kind in KINDS if needs_labels(Metric(kind))] == ["fd_per_class"]
    assert protocol(Metric("precision"))["k"] == 3 and protocol(Metric("coverage"))["k"] == 5


NAN = features(100).index_fill(0, torch.tensor([3, 7]), torch.nan)


@pytest.mark.parametrize(
    ("kind", "x", "changes", "options", "message"),
    [
        ("fd", features(1), {}, {}, "1 images; this metric takes at least 2: draw more"),
        ("fd", NAN, {}, {}, "features of 2 of 100 images are not finite"),
        ("fd", features(50)[:, :5], {}, {}, r"shape \[50, 5\]; they must be \[N, 8\]"),
        ("kd", features(50)[:, :5], {}, {}, r"they must be \[N, 8\]"),
        ("density", features(50)[:, :5], {}, {}, r"they must be \[N, 8\]"),
        ("fd_per_class", features(50)[:, :5], {}, {"labels": labels(50)}, r"must be \[N, 8\]"),
        ("kd", features(50), {"features": None}, {}, "evaluate.py ref --features N"),
        ("coverage", features(50), {"features": None}, {}, "evaluate.py ref --features N"),
        ("fd_per_class", features(50), {"features": None}, {"labels": labels(50)}, "evaluate.py ref --features N"),
        ("fd_per_class", features(50), {"labels": None}, {"labels": labels(50)}, "the reference has no labels"),
        ("fd_per_class", features(50), {}, {}, "the images have no labels"),
        ("fd_per_class", features(50), {}, {"labels": labels(49)}, "49 labels of 50 images"),
        ("recall", features(3), {}, {}, "3 images; this metric takes at least 4"),
        ("is", features(50), {}, {}, "needs a detector"),
        ("is", features(50), {}, {"detector": Headless()}, "detector linear is no classifier"),
    ],
)
def test_bad_input(kind, x, changes, options, message):
    with pytest.raises(UserError, match=message):
        score(Metric(kind), x, statistics(**changes), **options)


def test_no_reference_at_all():
    for kind in ("fd", "kd", "recall", "fd_per_class"):
        with pytest.raises(UserError, match="needs a reference"):
            score(Metric(kind), features(50), None, labels=labels(50))
    assert score(Metric("is"), features(50), None, detector=Linear()).value > 1
