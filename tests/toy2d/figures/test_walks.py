"""Recorded ways of points: every state, in order, from the noise to the sample."""

import pytest
import torch

from edm2lite.config import ModelRef, SamplerConfig
from edm2lite.sampling.noise_levels import noise_levels
from edm2lite.sampling.seeded import SeededStreams
from edm2lite.toy2d import ground_truth
from edm2lite.toy2d.figures.walks import Walk, walk
from edm2lite.toy2d.points import Guided2d

SEEDS = range(7)


def pair(solver="heun"):
    sampler = SamplerConfig(num_steps=5, sigma_max=5.0, solver=solver)
    return Guided2d(ModelRef(path="exact:A"), sampler=sampler, dtype=torch.float64)


@pytest.mark.parametrize("solver", ["heun", "euler"])
def test_each_state_is_a_solver_step_from_the_one_before(solver):
    own, truth = pair(solver), ground_truth("A")
    found = walk(own, SEEDS)
    torch.testing.assert_close(found.sigma, noise_levels(own.sampler))
    torch.testing.assert_close(found.points[0], 5 * SeededStreams(SEEDS).randn((2, 1, 1)).flatten(1).double())
    for i in range(len(found.sigma) - 1):
        x, sigma, after = found.points[i], found.sigma[i], found.sigma[i + 1]
        slope = -sigma * truth.score(x, sigma)
        if solver == "heun" and after > 0:
            slope = (slope - after * truth.score(x + (after - sigma) * slope, after)) / 2
        torch.testing.assert_close(found.points[i + 1], x + (after - sigma) * slope)


def test_a_walk_ends_at_the_sampled_points():
    assert torch.equal(walk(pair(), SEEDS).points[-1], pair()(SEEDS))


def test_positions_between_states():
    points = torch.tensor([[[0.0, 4.0]], [[2.0, 0.0]], [[3.0, 1.0]]], dtype=torch.float64)
    found = Walk(torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64), points).at([0, 0.25, 0.5, 1])
    assert found.sigma.tolist() == [2.0, 1.5, 1.0, 0.0]
    assert found.points[:, 0].tolist() == [[0, 4], [1, 2], [2, 0], [3, 1]]


def test_scaling_keeps_the_spread_and_the_end():
    sigma = torch.tensor([5.0, 0.5, 0.0], dtype=torch.float64)
    clean, noise = torch.randn(2, 20000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = Walk(sigma, 0.5 * clean + sigma[:, None, None] * noise).scaled(0.5)
    torch.testing.assert_close(found.points.std(dim=(1, 2)), torch.full((3,), 0.5).double(), rtol=0.02, atol=0)
    assert torch.equal(found.points[-1], 0.5 * clean)
