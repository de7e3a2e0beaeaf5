"""Points of the truth, points that are not, and what the yardstick says of them."""

import pytest
import torch

from edm2lite.errors import UserError
from edm2lite.toy2d import ground_truth
from edm2lite.toy2d.yardstick import LEAST_LOGP, METRICS, Yardstick, low_density, part_logp

N = 2048


@pytest.fixture(scope="module")
def yardstick() -> Yardstick:
    return Yardstick("A")


@pytest.fixture(scope="module")
def points() -> torch.Tensor:
    return ground_truth("A").sample(N, 0.002, torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def measured(yardstick, points) -> dict[str, float]:
    return yardstick.measure(points)


def test_true_points_are_true(measured, yardstick):
    assert list(measured) == list(METRICS)
    assert measured["outliers"] <= 0.004
    for name, error in {"kl": 0.12, "reverse_kl": 0.12, "energy": 1.5e-3, "dropped": 0.05, "leakage": 0.02}.items():
        assert measured[name] == pytest.approx(0, abs=error), name
    assert measured["logp"] == pytest.approx(1.325, abs=0.1)  # 4 standard errors
    assert measured["coverage"] > 0.92 and measured["coverage_0"] > 0.95 and measured["coverage_6"] > 0.65


def test_the_same_points_in_float32_measure_the_same(yardstick, points, measured):
    again = yardstick.measure(points.float())
    assert again == yardstick.measure(points.float().double())
    assert again == pytest.approx(measured, abs=1e-3)


def test_points_moved_far_are_outliers_and_count_with_the_least(yardstick, points, measured):
    moved = points.clone()
    moved[::4] += 100
    found = yardstick.measure(moved)
    stay = yardstick.logp(points).reshape(-1, 4)[:, 1:]
    assert found["outliers"] == pytest.approx(0.25 + float((stay < yardstick.threshold).sum()) / N)
    assert found["logp"] == pytest.approx((LEAST_LOGP * N / 4 + float(stay.sum())) / N)
    assert found["kl"] > 0.25 * 50 - 2 and found["energy"] > 1


def test_points_of_one_branch_alone_diverge_by_its_weight(yardstick):
    """KL(p given a part || p) is -ln of the part, but for what overlaps it; and the truth has other parts, too."""
    truth = ground_truth("A")
    drawn, component = truth.draw(4 * N, 0.002, torch.Generator().manual_seed(1))
    own = component < 8
    found = yardstick.measure(drawn[own])
    assert found["kl"] == pytest.approx(-float(truth.weights[:8].sum().log()), abs=0.15)
    assert found["reverse_kl"] > 2 and found["dropped"] > 0.9 and found["outliers"] < 0.005


def test_points_of_the_other_class_leak(yardstick):
    found = yardstick.measure(ground_truth("B").sample(N, 0.002, torch.Generator().manual_seed(2)))
    assert found["leakage"] > 0.98 and found["outliers"] > 0.8 and found["coverage"] < 0.3


def test_of_both_classes_nothing_leaks_out(monkeypatch):
    monkeypatch.setattr("edm2lite.toy2d.yardstick.low_density", lambda truth, sigma: -4.6)  # a second
    truth = ground_truth("AB")
    found = Yardstick("AB").measure(truth.sample(500, 0.002, torch.Generator().manual_seed(3)))
    assert list(found) == [name for name in METRICS if name != "leakage"]
    assert found["coverage_1"] > 0.8 and found["kl"] == pytest.approx(0, abs=0.3)


def test_the_parts_of_all_components_are_the_density():
    truth, x = ground_truth("A"), torch.tensor([[0.3, 0.4], [0.9, -0.2]], dtype=torch.float64)
    every = torch.arange(len(truth.weights))
    parts = torch.stack([part_logp(truth, point.expand(len(every), 2), every, 0.05) for point in x])
    torch.testing.assert_close(parts.logsumexp(dim=1), truth.logp(x, 0.05))
    torch.testing.assert_close(parts.softmax(dim=1), truth.responsibilities(x, 0.05))


@pytest.mark.parametrize(("sigma", "share"), [(0.002, 0.01), (0.3, 0.01)])  # few and all of the points are looked at
def test_the_threshold_is_the_quantile_of_true_points(sigma, share):
    truth = ground_truth("A")
    points, _ = truth.draw(4000, sigma, torch.Generator().manual_seed(7))
    lower = truth.logp(points, sigma) < low_density(truth, sigma, share, 4000, seed=7)
    assert int(lower.sum()) == 40


def test_the_threshold_is_that_of_many_points(yardstick):
    assert yardstick.threshold == pytest.approx(-3.93, abs=0.06)  # two samples of a million: -3.92 and -3.95


def test_points_that_are_not_finite_are_refused(yardstick):
    bad = torch.tensor([[0.0, 1.0], [float("nan"), 0.0], [0.0, float("inf")]])
    with pytest.raises(UserError, match=r"2 of 3 points are not finite: .* lower its weight"):
        yardstick.measure(bad)
