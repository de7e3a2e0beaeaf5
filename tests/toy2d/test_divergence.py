"""Estimates of divergences on Gaussians, where they are known."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from edm2lite.config import ModelRef, NetworkConfig
from edm2lite.network.energy import Energy
from edm2lite.snapshots.files import SnapshotInfo, save_snapshot
from edm2lite.toy2d.divergence import cross_divergence, entropy, exact_kl
from edm2lite.toy2d.points import Guided2d

MIX = torch.tensor([[0.7, 0.2], [-0.4, 1.5]], dtype=torch.float64)  # det 1.13
SHIFT = torch.tensor([0.3, -1.0], dtype=torch.float64)


def normals(n: int, seed: int) -> Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("k", [1, 4])
def test_the_entropy_of_a_gaussian(k):
    points = normals(4096, 0) @ MIX.T + SHIFT
    assert entropy(points, k) == pytest.approx(1 + math.log(2 * math.pi) + math.log(float(MIX.det())), abs=0.1)


def test_the_entropy_of_points_scaled_is_that_plus_twice_the_logarithm():
    points = normals(500, 1)
    assert entropy(1e-3 * points) == pytest.approx(entropy(points) + 2 * math.log(1e-3), abs=1e-9)


def test_points_that_coincide_have_a_finite_entropy():
    assert -40 < entropy(torch.zeros(100, 2, dtype=torch.float64)) < -20


@pytest.mark.parametrize("k", [1, 4])
def test_the_divergence_of_two_gaussians(k):
    narrow, wide = normals(4096, 2), 2 * normals(3000, 3) + SHIFT
    exact = 1 / 4 + float(SHIFT @ SHIFT) / 8 - 1 + 2 * math.log(2)
    assert cross_divergence(narrow, wide, k) == pytest.approx(exact, abs=0.1)


def test_the_divergence_of_a_wide_gaussian_from_a_narrow_one_comes_out_too_low():
    """Where there are none of the others, their density is taken for higher than it is: no fault but the method's limit."""
    narrow, wide = normals(4096, 2), 2 * normals(3000, 3)
    exact = 4 - 1 - 2 * math.log(2)
    assert exact / 2 < cross_divergence(wide, narrow) < exact


def test_the_divergence_of_two_samples_of_one_distribution_is_about_zero():
    assert cross_divergence(normals(4096, 4), normals(4096, 5)) == pytest.approx(0, abs=0.1)


def test_the_exact_divergence_of_a_linear_map():
    z, target = normals(4096, 8), MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
    made = MultivariateNormal(SHIFT, MIX @ MIX.T)
    gap = exact_kl(lambda z: z @ MIX.T + SHIFT, z, target.log_prob)
    x = z @ MIX.T + SHIFT
    torch.testing.assert_close(gap, made.log_prob(x) - target.log_prob(x), atol=1e-8, rtol=0)
    kl = float((MIX.square().sum() + SHIFT @ SHIFT) / 2 - 1 - MIX.det().log())
    assert float(gap.mean()) == pytest.approx(kl, abs=4 * float(gap.std()) / 64)


def test_the_exact_divergence_of_a_map_that_bends():
    z = normals(1000, 9)
    gap = exact_kl(lambda z: torch.stack([z[:, 0].sinh(), z[:, 1] + z[:, 0] ** 2], 1), z, lambda x: x[:, 1])
    normal = -z.square().sum(1) / 2 - math.log(2 * math.pi)
    torch.testing.assert_close(gap, normal - z[:, 0].cosh().log() - (z[:, 1] + z[:, 0] ** 2), atol=1e-6, rtol=0)


def test_the_exact_divergence_of_a_model_without_gain_is_that_of_the_gaussian_it_is(tmp_path):
    """It is the denoiser of N(0, sigma_data^2 I), and the solver multiplies the noise by a number."""
    network = NetworkConfig(model_channels=4, sigma_data=0.5)
    info = SnapshotInfo(
        img_resolution=1, img_channels=2, label_dim=0, network=network, kind="energy", dataset="none"
    ).at(1024, 0.05)  # fmt: skip
    weights = Energy(1, 2, 0, network).state_dict() | {"gain": torch.zeros([])}
    save_snapshot(tmp_path / "1Ki-ema0.05.safetensors", weights, info)
    pair = Guided2d(ModelRef(path=str(tmp_path / "1Ki-ema0.05.safetensors")), dtype=torch.float64)
    z = normals(200, 10)
    sampler = lambda noise: pair(range(200), noise=noise)  # noqa: E731
    factor = float((sampler(z) / z).mean())
    assert factor == pytest.approx(5 * 0.5 / math.sqrt(5**2 + 0.5**2), rel=0.02)
    target = MultivariateNormal(torch.zeros(2).double(), 0.25 * torch.eye(2).double())
    made = MultivariateNormal(torch.zeros(2).double(), factor**2 * torch.eye(2).double())
    expected = made.log_prob(factor * z) - target.log_prob(factor * z)
    torch.testing.assert_close(exact_kl(sampler, z, target.log_prob), expected, atol=1e-6, rtol=0)
