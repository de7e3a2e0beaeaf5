"""Frechet distances with their jackknife, of all images and class by class."""

import pytest
import torch

from edm2lite.errors import UserError
from edm2lite.evaluation.metrics.frechet import FrechetReference, frechet_distance_of
from edm2lite.evaluation.metrics.gaussian import frechet_estimate, per_class_estimate
from edm2lite.evaluation.metrics.uncertainty import jackknife_groups


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("n", [30, 400])
def test_without_a_group_is_without_its_images(n):
    reference = FrechetReference(torch.zeros(32), torch.eye(32))
    x, groups = normal(n, 32).float(), torch.from_numpy(jackknife_groups(n))
    found = frechet_estimate(x, reference, groups)
    assert found.value == pytest.approx(reference.distance_of(x), rel=1e-9)
    for group in (0, 4):
        assert found.leave_one_out[group] == pytest.approx(reference.distance_of(x[groups != group]), rel=1e-9)


def test_two_images_have_a_distance_and_no_error():
    reference = FrechetReference(torch.zeros(4), torch.eye(4))
    found = frechet_estimate(normal(2, 4), reference, torch.tensor([0, 1]))
    assert found.leave_one_out == () and found.value > 0


def test_classes():
    x, y = normal(60, 8), normal(90, 8, seed=1)
    labels, theirs = torch.arange(60) % 3 + 5, torch.arange(90) % 3 + 5
    found = per_class_estimate(x, labels, y, theirs, groups=4)
    expected = [frechet_distance_of(x[labels == c], y[theirs == c]) for c in (5, 6, 7)]
    assert found.details == pytest.approx({f"class {c}": d for c, d in zip((5, 6, 7), expected, strict=True)})
    assert found.value == pytest.approx(sum(expected) / 3)
    kept = [
        frechet_distance_of(x[labels == c][(torch.arange(20) + i) % 4 != 2], y[theirs == c])
        for i, c in enumerate((5, 6, 7))
    ]
    assert found.leave_one_out[2] == pytest.approx(sum(kept) / 3)


def test_classes_of_too_few_images():
    x, y = normal(10, 8), normal(10, 8, seed=1)
    labels = torch.tensor([0] * 8 + [1] * 2)
    assert per_class_estimate(x, labels, y, labels, groups=5).leave_one_out == ()
    with pytest.raises(UserError, match=r"1 of 2 classes .*: class 1 has 1 generated, 2 in the reference"):
        per_class_estimate(x[:9], labels[:9], y, labels, groups=5)
    with pytest.raises(UserError, match="class 2 has 0 generated"):
        per_class_estimate(x, labels, y, labels * 2, groups=5)
