"""Churn, read off the solvers that have it."""

import math

import pytest
import torch

from edm2lite import sample_euler, sample_heun
from tests.sampling.exact import Recorder


@pytest.mark.parametrize("sample", [sample_heun, sample_euler])
@pytest.mark.parametrize(
    ("settings", "raised"),
    [
        ({"S_churn": 0.2}, [1.1, 1.1]),  # 0.2 over two levels: 10% each
        ({"S_churn": 100}, [math.sqrt(2), math.sqrt(2)]),
        ({"S_churn": 0.2, "S_min": 3}, [1.1, 1]),
        ({"S_churn": 0.2, "S_max": 3}, [1, 1.1]),
        ({"S_churn": 0.2, "S_min": 2, "S_max": 8}, [1.1, 1.1]),  # both included
    ],
)
@pytest.mark.parametrize("S_noise", [1, 1.007])
def test_churn_raises_the_noise_level_and_adds_what_is_missing(sample, settings, raised, S_noise):
    """With D = 0 a step only scales x with sigma, so that the fresh noise can be read off x."""
    denoise = Recorder(lambda x, sigma, labels=None: 0 * x)
    sample(
        denoise, torch.zeros(1), sigmas=[8, 2], randn_like=torch.ones_like, dtype=torch.float64, S_noise=S_noise, **settings
    )  # fmt: skip
    first, last = denoise.calls[0], denoise.calls[-1]
    levels = [8 * raised[0], 2 * raised[1]]
    added = [S_noise * math.sqrt(after**2 - before**2) for after, before in zip(levels, [8, 2], strict=True)]
    assert [float(first[1]), float(last[1])] == pytest.approx(levels)
    assert [float(first[0]), float(last[0])] == pytest.approx([added[0], added[0] * 2 / levels[0] + added[1]])


@pytest.mark.parametrize("sample", [sample_heun, sample_euler])
def test_without_churn_no_noise_is_drawn(sample):
    sample(lambda x, sigma, labels: 0 * x, torch.ones(1), num_steps=4, randn_like=lambda x: pytest.fail("drawn"))
