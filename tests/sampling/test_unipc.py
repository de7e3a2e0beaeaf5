"""UniPC: order of convergence, parity with diffusers, the corrector."""

import math

import pytest
import torch

from edm2lite.sampling import unipc
from edm2lite.sampling.unipc import sample_unipc
from tests.sampling.exact import Recorder, error_at_lowest_level, orders
from tests.sampling.test_deis import LEVELS
from tests.sampling.test_dpmpp import two_modes


@pytest.mark.parametrize("levels", LEVELS)
def test_order_four(levels):
    errors = [error_at_lowest_level(sample_unipc, levels(n)) for n in (129, 257, 513)]
    assert all(3.8 < order < 4.1 for order in orders(errors)), errors


PUBLISHED = {  # diffusers 0.42.1, UniPCMultistepScheduler (bh2, order 3, lower_order_final off) on EDM's levels, in float64
    5: [-3.563677412170, -1.850506618070, 2.242834366063, 3.958636603955],
    12: [-1.107895232858, -0.325882801748, 0.722909603473, 1.505380108390],
}


@pytest.mark.parametrize("num_steps", PUBLISHED)
def test_parity_with_diffusers(num_steps, monkeypatch):
    """The paper takes 1/2 for its coefficient where there are two D (corrector's first step, predictor's second) instead of
    solving for it; with the same done here, all digits agree."""
    exact = unipc._step

    def halves(sigma, x, sigma_next, known):
        if len(known) != 2:
            return exact(sigma, x, sigma_next, known)
        (first, a), (second, b) = known
        if second == sigma_next:
            return ((a + b) / 2).lerp(x, sigma_next / sigma)
        ratio = math.log(first / second) / math.log(second / sigma_next)
        return (b + (b - a) / (2 * ratio)).lerp(x, sigma_next / sigma)

    monkeypatch.setattr(unipc, "_step", halves)
    noise = torch.linspace(-2, 2, 4, dtype=torch.float64).reshape(1, 1, 2, 2)
    out = sample_unipc(two_modes, noise, num_steps=num_steps, dtype=torch.float64)
    expected = torch.tensor(PUBLISHED[num_steps], dtype=torch.float64)
    torch.testing.assert_close(out.flatten(), expected, rtol=0, atol=1e-11)


def test_the_corrector_makes_a_denoiser_linear_in_ln_sigma_exact_from_the_first_step_on():
    """There (x - D - b) / sigma is constant, D = a + b ln sigma; the first prediction, with D constant, is off."""
    levels = [40.0, 10.0, 3.0, 1.0]
    denoise = Recorder(lambda x, sigma, labels=None: torch.zeros_like(x) + 0.3 + 0.7 * sigma.log())
    sample_unipc(denoise, torch.ones(1, dtype=torch.float64), sigmas=levels, dtype=torch.float64)
    D = [0.3 + 0.7 * math.log(s) for s in levels]
    solution = [d + 0.7 + s * (levels[0] - D[0] - 0.7) / levels[0] for d, s in zip(D, levels, strict=True)]
    evaluated = [float(x) for x, _, _ in denoise.calls]
    assert abs(evaluated[1] - solution[1]) > 0.1 and evaluated[2:] == pytest.approx(solution[2:])
