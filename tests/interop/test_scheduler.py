"""The scheduler against our own solver, and its order of calls."""

from functools import partial

import pytest
import torch

from edm2lite import sample_heun
from edm2lite.errors import UserError
from edm2lite.interop import EDMHeunScheduler
from tests.guidance.gaussian import gaussian

denoise = partial(gaussian, mean=0.2)


def solve(scheduler, noise):
    x = noise * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        x = scheduler.step(denoise(scheduler.scale_model_input(x, t), t), t, x).prev_sample
    return x


@pytest.mark.parametrize("num_steps", [2, 7])
def test_is_bitwise_our_own_solver(num_steps):
    noise = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    scheduler = EDMHeunScheduler(sigma_min=0.01, sigma_max=50, rho=5)
    for _ in range(2):  # set_timesteps begins anew
        scheduler.set_timesteps(num_steps)
        expected = sample_heun(denoise, noise, num_steps=num_steps, sigma_min=0.01, sigma_max=50, rho=5)
        assert torch.equal(solve(scheduler, noise), expected)


def test_every_level_but_the_first_comes_twice():
    scheduler = EDMHeunScheduler()
    scheduler.set_timesteps(3)
    a, b, c = scheduler.levels
    assert scheduler.timesteps.tolist() == pytest.approx([a, b, b, c, c]) and a == pytest.approx(80)
    assert scheduler.order == 2 and scheduler.init_noise_sigma == a


def test_steps_out_of_order_are_refused():
    scheduler, x = EDMHeunScheduler(), torch.ones(1, 1, 2, 2)
    scheduler.set_timesteps(2)
    with pytest.raises(UserError, match=r"timestep is 0\.002 but the next is 80"):
        scheduler.step(x, scheduler.timesteps[1], x)
    solve(scheduler, x)
    with pytest.raises(UserError, match="all 3 timesteps are done"):
        scheduler.step(x, scheduler.timesteps[-1], x)


def test_configuration_is_saved(tmp_path):
    EDMHeunScheduler(sigma_max=50).save_pretrained(tmp_path)
    loaded = EDMHeunScheduler.from_pretrained(tmp_path)
    assert loaded.config.sigma_max == 50 and loaded.init_noise_sigma == pytest.approx(50)
