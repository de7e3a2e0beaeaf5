"""Noise levels: EDM's formula, lists of one's own, what is refused."""

import pytest
import torch

from edm2lite import karras_sigmas, sample_heun
from edm2lite.config import SamplerConfig
from edm2lite.errors import UserError
from edm2lite.sampling.noise_levels import choose_levels, noise_levels
from tests.guidance.gaussian import gaussian


def test_noise_levels():
    s = karras_sigmas(32, 0.002, 80, 7)
    assert len(s) == 33 and s[0] == pytest.approx(80) and s[-2] == pytest.approx(0.002) and s[-1] == 0
    expected = (80 ** (1 / 7) + 10 / 31 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    assert float(s[10]) == pytest.approx(expected)
    assert (s.diff() < 0).all()


@pytest.mark.parametrize("arguments", [(1, 0.002, 80, 7), (0, 0.002, 80, 7), (32, 80, 0.002, 7), (32, 0, 80, 7)])
def test_impossible_noise_levels_are_refused(arguments):
    with pytest.raises(UserError):
        karras_sigmas(*arguments)
    with pytest.raises(UserError):
        sample_heun(
            gaussian,
            torch.zeros(1, 1, 2, 2),
            **dict(zip(("num_steps", "sigma_min", "sigma_max"), arguments, strict=False)),
        )


def test_a_configuration_names_its_levels():
    cfg = SamplerConfig(num_steps=7, sigma_min=0.01, sigma_max=50, rho=5)
    assert torch.equal(noise_levels(cfg), karras_sigmas(7, 0.01, 50, 5))
    levels = noise_levels(SamplerConfig(sigmas=(10.0, 0.3, 0.1)))
    assert levels.dtype == torch.float64 and levels.tolist() == [10, 0.3, 0.1, 0]


@pytest.mark.parametrize("sigmas", [[3, 0.1], (3.0, 0.1), torch.tensor([3, 0.1], dtype=torch.float64)])
def test_explicit_levels_may_be_a_list_or_a_tensor(sigmas):
    assert choose_levels(sigmas, 1, 9, 8, -1).tolist() == [3, 0.1, 0]


@pytest.mark.parametrize(
    "sigmas", [[], [1.0], [1.0, 2.0], [1.0, 1.0], [1.0, 0.0], [1.0, -1.0], [float("inf"), 1.0], [float("nan"), 1.0]]
)
def test_explicit_levels_that_cannot_be_walked_are_refused(sigmas):
    with pytest.raises(UserError, match=r"^sigmas is .*two falling noise levels above 0"):
        choose_levels(sigmas, 32, 0.002, 80, 7)
    with pytest.raises(UserError, match=r"^sampler.sigmas is .*two falling noise levels above 0"):
        SamplerConfig(sigmas=tuple(sigmas))


@pytest.mark.parametrize("setting", [{"S_min": 0.05}, {"S_max": 50.0}, {"S_noise": 1.003}])
def test_settings_of_churn_without_churn_are_refused(setting):
    (name,) = setting
    with pytest.raises(
        UserError, match=f"sampler.{name} is .* but sampler.S_churn is 0.*; set S_churn, or leave {name} out"
    ):
        SamplerConfig(**setting)
    SamplerConfig(S_churn=10, **setting)
