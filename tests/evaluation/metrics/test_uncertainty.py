"""Errors of metrics: closed forms, and Gaussians of known distance."""

import math
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats
import torch

from edm2lite.errors import UserError
from edm2lite.evaluation.metrics.frechet import FrechetReference
from edm2lite.evaluation.metrics.gaussian import frechet_estimate
from edm2lite.evaluation.metrics.uncertainty import (
    difference,
    extrapolate,
    jackknife_groups,
    jackknife_se,
    paired_difference,
    statistically_tied,
    student,
)
from edm2lite.evaluation.score import Score


def scored(value, without=(), n=100):
    return Score(value=value, num_images=n, se=jackknife_se(without), leave_one_out=tuple(without))


def test_groups_are_equal_random_and_reproducible():
    groups = jackknife_groups(1003)
    assert sorted(np.bincount(groups)) == [100] * 7 + [101] * 3
    assert (groups == jackknife_groups(1003)).all()
    labels = np.arange(1003) % 10  # balanced labels: seed modulo classes
    assert len(set(labels[groups == 0])) == 10


def test_jackknife_of_a_mean_is_its_standard_error():
    x = np.random.default_rng(0).normal(size=12)
    without = [np.delete(x, i).mean() for i in range(12)]
    assert jackknife_se(without) == pytest.approx(x.std(ddof=1) / math.sqrt(12))
    assert jackknife_se([1.0]) is None and extrapolate(1.0, []) is None


def test_extrapolation_is_exact_for_a_bias_of_one_over_n():
    f = lambda n: 3.0 + 7 / n  # noqa: E731
    assert extrapolate(f(1000), [f(900)] * 10) == pytest.approx(3)


def test_paired_difference():
    found = paired_difference([1.0, 2, 4], [2.0, 4, 5])
    assert (found.mean, found.sd, found.degrees) == (pytest.approx(4 / 3), pytest.approx(math.sqrt(1 / 3)), 2)
    assert found.se == pytest.approx(found.sd / math.sqrt(3))
    for a, b in (([1.0], [2.0]), ([1.0, 2], [1.0])):
        with pytest.raises(UserError, match="add repeats"):
            paired_difference(a, b)


def test_student_is_student():
    for degrees in range(1, 31):
        assert student(degrees) == pytest.approx(scipy.stats.t.ppf(0.975, degrees), abs=6e-4)
    assert student(31) == student(1000) == 2


def test_three_common_blocks_count_by_their_differences():
    best = {i: scored(v) for i, v in enumerate((1.0, 2.0, 3.0))}
    above = {i: scored(v) for i, v in enumerate((1.5, 2.6, 3.4))}  # always by 0.4 ... 0.6, far less than the spread
    mixed = {i: scored(v) for i, v in enumerate((1.5, 1.8, 3.1))}
    assert not statistically_tied(best, above) and not statistically_tied(above, best)
    assert statistically_tied(best, mixed)
    assert difference(best, {**above, 9: scored(1e6)}).mean == pytest.approx(0.5)  # a block of one alone is no pair


def test_one_common_block_counts_by_its_groups():
    wave = np.linspace(-1, 1, 10)
    best, near = {0: scored(5.0, 5 + wave)}, {0: scored(5.1, 5.1 + wave * 1.01)}
    assert best[0].se > 1 and not statistically_tied(
        best, near
    )  # 0.1 apart group by group, although each is uncertain by 1.9
    assert statistically_tied(best, {0: scored(5.1, 5.1 - wave)})
    two = difference({**best, 1: best[0]}, {**near, 1: near[0]})
    assert (two.degrees, two.sd) == (18, 0) and two.se == pytest.approx(0.01 * best[0].se / math.sqrt(2))


def test_without_common_blocks_both_errors_count():
    wave = np.linspace(-1, 1, 10)
    a, b = {0: scored(5.0, 5 + wave)}, {1: scored(5.1, 5.1 + wave)}
    assert difference(a, b).se == pytest.approx(a[0].se * math.sqrt(2)) and statistically_tied(a, b)
    assert not statistically_tied(a, {1: scored(20.0, 20 + wave)})


def test_without_errors_only_equal_values_are_tied():
    a, b = {0: scored(5.0)}, {0: scored(5.1)}
    assert difference(a, b) is None and statistically_tied(a, a) and not statistically_tied(a, b)
    assert difference({}, a) is None and not statistically_tied({}, a)


def test_tables_need_no_torch():
    code = "import sys, edm2lite.evaluation.metrics.protocol; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


class Known:
    """Two Gaussians of dimension `dim` and the distance between them; sets of N images and what is estimated of them."""

    def __init__(self, dim, images, runs, seed=0):
        spectrum = 1 / torch.arange(1, dim + 1, dtype=torch.float64)
        self.reference = FrechetReference(torch.zeros(dim), torch.diag(spectrum))
        self.root, self.mu = (1.2 * spectrum).sqrt(), torch.full((dim,), 0.05, dtype=torch.float64)
        self.truth = self.reference.distance(self.mu, torch.diag(1.2 * spectrum))
        g, self.groups = torch.Generator().manual_seed(seed), torch.from_numpy(jackknife_groups(images))
        self.noise = [torch.randn(images, dim, generator=g, dtype=torch.float64) for _ in range(runs)]
        found = [self.estimate(x) for x in self.noise]
        self.values = np.array([e.value for e in found])
        self.errors = np.array([jackknife_se(e.leave_one_out) for e in found])
        self.extrapolated = np.array([extrapolate(e.value, e.leave_one_out) for e in found])

    def estimate(self, noise, scale=1.0):
        return frechet_estimate(noise * self.root * scale + self.mu, self.reference, self.groups)

    def rmse(self, x):
        return math.sqrt(((x - self.truth) ** 2).mean())


def test_error_bars_cover_and_extrapolation_is_nearer():
    """100 runs of N/D = 25, as 50k images of 2048 features.

    The deviation over the jackknife's error of 10 groups has Student's t of 9 degrees: 66 % within one, 92 % within two. Of 100
    runs that is 66 +- 4.7 and 92.3 +- 2.7; accepted are three of these either way.
    """
    known = Known(dim=64, images=1600, runs=100)
    deviation = abs(known.values - known.values.mean()) / known.errors
    assert 51 <= (deviation < 1).sum() <= 80
    assert (deviation < 2).sum() >= 84
    assert abs(known.extrapolated.mean() - known.truth) < 3 * known.extrapolated.std() / 10
    assert abs(known.values.mean() - known.truth) > known.values.std()  # the plain value is off by far more
    assert known.rmse(known.extrapolated) < known.rmse(known.values) / 2
    inside = abs(known.extrapolated - known.truth) < student(9) * known.errors
    assert inside.sum() >= 88  # 95 %, three standard deviations


def test_common_seeds_tell_smaller_differences():
    """Paired over blocks and within a block: the spread of the difference of two models, on common and on other seeds."""
    known = Known(dim=64, images=1600, runs=40)
    twins = [known.estimate(x, scale=1.05) for x in known.noise]
    values = np.array([e.value for e in twins])
    paired, unpaired = values - known.values, values - np.roll(known.values, 1)
    assert paired.std(ddof=1) < unpaired.std(ddof=1) / 2
    ours = [known.estimate(x) for x in known.noise]
    errors = [jackknife_se(np.subtract(b.leave_one_out, a.leave_one_out)) for a, b in zip(ours, twins, strict=True)]
    assert 0.6 < np.mean(errors) / paired.std(ddof=1) < 1.6  # the jackknife of a block's difference has the right size
