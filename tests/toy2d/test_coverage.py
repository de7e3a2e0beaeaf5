"""Shares of branches and components on points whose place is known."""

import pytest
import torch

from edm2lite.toy2d import ground_truth
from edm2lite.toy2d.coverage import branch_shares, coverage, total_variation
from edm2lite.toy2d.tree import COMPONENTS, GENERATIONS

TRUTH = ground_truth("A")
WEIGHTS = TRUTH.weights.reshape(-1, COMPONENTS).sum(dim=1)
DEPTH = torch.tensor([branch.depth for branch in TRUTH.branches])


def test_true_shares_cover_everything():
    found = coverage(TRUTH, WEIGHTS)
    assert list(found) == ["coverage", *(f"coverage_{depth}" for depth in range(GENERATIONS)), "dropped"]
    assert found.pop("dropped") == 0
    assert list(found.values()) == pytest.approx([1.0] * (1 + GENERATIONS))


@pytest.mark.parametrize("branch", [0, 1, 60, 126])
def test_a_missing_branch_lowers_the_coverage_of_its_depth_alone(branch):
    shares = WEIGHTS.clone()
    shares[branch] = 0
    shares /= shares.sum()
    found, depth = coverage(TRUTH, shares), int(DEPTH[branch])
    for other in range(GENERATIONS):
        part = float(WEIGHTS[branch] / WEIGHTS[depth == DEPTH].sum()) if other == depth else 0.0
        assert found[f"coverage_{other}"] == pytest.approx(1 - part)
    assert found["coverage"] == pytest.approx(1 - float(WEIGHTS[branch]))
    assert found["dropped"] == pytest.approx(1 / 127)


def test_a_branch_is_dropped_below_a_tenth_of_its_weight():
    for part, dropped in ((0.11, 0), (0.09, 1 / 127)):
        shares = WEIGHTS.clone()
        shares[5] *= part
        assert coverage(TRUTH, shares)["dropped"] == pytest.approx(dropped)


def test_coverage_is_one_less_the_total_variation_of_branches():
    shares = torch.rand(127, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shares /= shares.sum()
    assert coverage(TRUTH, shares)["coverage"] == pytest.approx(1 - float((shares - WEIGHTS).abs().sum()) / 2)


def test_true_points_give_every_branch_its_weight():
    points, component = TRUTH.draw(4096, 0.002, torch.Generator().manual_seed(1))
    shares = branch_shares(TRUTH, points, 0.002)
    assert float(shares.sum()) == pytest.approx(1)
    error = (WEIGHTS * (1 - WEIGHTS) / len(points)).sqrt()
    assert float(((shares - WEIGHTS) / error).abs().max()) < 4.5
    drawn = (component // COMPONENTS).bincount(minlength=127) / len(points)
    assert float((shares - WEIGHTS).abs().sum()) < float((drawn - WEIGHTS).abs().sum())


def test_points_without_a_branch_leave_its_share_to_what_overlaps_it():
    points, component = TRUTH.draw(4096, 0.002, torch.Generator().manual_seed(2))
    branch = component // COMPONENTS
    before, after = (coverage(TRUTH, branch_shares(TRUTH, x, 0.002)) for x in (points, points[branch != 1]))
    lost = float(WEIGHTS[1] / WEIGHTS[DEPTH == 1].sum())
    assert lost > 0.4
    assert before["coverage_1"] - after["coverage_1"] == pytest.approx(lost, abs=0.1)
    for depth in (0, 2, 3, 4, 5, 6):
        assert after[f"coverage_{depth}"] > before[f"coverage_{depth}"] - 0.01
    assert (before["dropped"], after["dropped"]) == (0, pytest.approx(0, abs=1.1 / 127))


def test_the_total_variation_of_points_at_some_of_the_means():
    points = TRUTH.means[:COMPONENTS]
    assert total_variation(TRUTH, points) == pytest.approx(1 - float(WEIGHTS[0]))
    assert total_variation(TRUTH, points.repeat(1000, 1)) == pytest.approx(1 - float(WEIGHTS[0]))


def test_the_total_variation_of_true_points_is_as_published():
    """0.11 of 8192 points (facts/small_data.md)."""
    points = TRUTH.sample(8192, 0.002, torch.Generator().manual_seed(3))
    assert total_variation(TRUTH, points) == pytest.approx(0.11, abs=0.012)
