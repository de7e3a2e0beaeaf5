"""Weights over the noise levels: intervals, schedules, tables; and what contradicts itself."""

import math

import numpy as np
import pytest

from edm2lite import karras_sigmas
from edm2lite.config import ScheduleConfig, WeightConfig
from edm2lite.errors import UserError
from edm2lite.guidance.weights import interpolate, snap, weight_function

SIGMAS = karras_sigmas(32).tolist()[:-1]
FLOAT32 = [float(np.float32(s)) for s in SIGMAS]  # as they reach the denoiser


def weights(over=FLOAT32, **settings):
    f = weight_function(WeightConfig(**settings), SIGMAS)
    return [f(s) for s in over]


def test_a_constant_weight():
    assert weights(weight=2.1) == [2.1] * 32
    assert weights(weight=1.0) == [1.0] * 32


@pytest.mark.parametrize(("lo", "hi"), [(0.28, 2.90), (0.60, 5.00), (0.19, 1.61)])
def test_the_published_intervals_are_noise_levels_rounded_to_two_digits(lo, hi):
    """Endpoints printed in the interval paper, so each snaps to a level within its rounding; lo is out, hi is in."""
    assert all(abs(snap(end, SIGMAS) - end) < 0.03 * end for end in (lo, hi))
    on = [s for s, w in zip(SIGMAS, weights(weight=2.0, interval=(lo, hi)), strict=True) if w == 2]
    first, last = SIGMAS.index(snap(hi, SIGMAS)), SIGMAS.index(snap(lo, SIGMAS))
    assert on == SIGMAS[first:last] and len(on) > 3


def test_an_interval_up_to_everything_is_no_interval():
    for hi in (80, 79, math.inf):
        assert weights([*FLOAT32, 113], weight=2.0, interval=(0, hi)) == [2.0] * 33, "also above, where churn leads"


@pytest.mark.parametrize("over", ["step", "sigma"])
@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_schedules_go_from_1_to_the_weight_and_back(shape, over):
    up = weights(weight=3.0, schedule=ScheduleConfig(shape=shape, over=over))
    down = weights(weight=3.0, schedule=ScheduleConfig(shape=shape, over=over, direction="decreasing"))
    assert up[0] == down[-1] == 1 and up[-1] == pytest.approx(3) == down[0]
    assert np.all(np.diff(up) > 0)
    np.testing.assert_allclose(np.add(up, down), 4, atol=1e-6)


def test_schedules_in_closed_form():
    steps = np.arange(32) / 31
    linear = weights(weight=3.0, schedule=ScheduleConfig(shape="linear"))
    np.testing.assert_allclose(linear, 1 + 2 * steps, atol=1e-5)
    cosine = weights(weight=3.0, schedule=ScheduleConfig(shape="cosine"))
    np.testing.assert_allclose(cosine, 2 - np.cos(np.pi * steps), atol=1e-5)
    logs = np.log(80 / np.array(SIGMAS)) / np.log(80 / 0.002)
    in_sigma = weights(weight=3.0, schedule=ScheduleConfig(shape="linear", over="sigma"))
    np.testing.assert_allclose(in_sigma, 1 + 2 * logs, atol=1e-5)
    halfway = weight_function(WeightConfig(weight=3.0, schedule=ScheduleConfig(shape="linear")), SIGMAS)
    assert halfway(math.sqrt(SIGMAS[4] * SIGMAS[5])) == pytest.approx(1 + 2 * 4.5 / 31), "between levels"
    assert halfway(SIGMAS[0] * 1.4) == 1, "churn goes above the first level"


def test_a_single_noise_level_is_the_first_of_a_schedule():
    for direction, w in (("increasing", 1), ("decreasing", 3)):
        cfg = WeightConfig(weight=3.0, schedule=ScheduleConfig(shape="linear", direction=direction))
        assert weight_function(cfg, [2.0])(2.0) == w


def test_tables_over_sigma_and_over_steps():
    table = ScheduleConfig(table=((80, 1), (1, 3), (0.01, 1)), over="sigma")
    assert weights([80, 1, 0.01, 0.002], schedule=table) == [1, 3, 1, 1]
    assert weights([0.1], schedule=table) == [pytest.approx(2)]
    steps = ScheduleConfig(table=((0, 1), (10, 1), (11, 2.5), (31, 1)), over="step")
    got = weights(schedule=steps)
    assert got[:11] == [1] * 11 and got[11] == 2.5 and got[31] == 1 and got[21] == pytest.approx(1.75)


def test_interval_and_schedule_compose():
    both = weights(weight=3.0, interval=(0.28, 2.9), schedule=ScheduleConfig(shape="linear"))
    alone = weights(weight=3.0, schedule=ScheduleConfig(shape="linear"))
    inside = weights(weight=3.0, interval=(0.28, 2.9))
    assert both == [a if i == 3 else 1 for a, i in zip(alone, inside, strict=True)]


def test_interpolation():
    assert [interpolate(x, [0, 1, 3], [5, 7, 3]) for x in (-1, 0, 0.5, 1, 2, 3, 9)] == [5, 5, 6, 7, 5, 3, 3]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight": 2.0, "interval": (2.9, 0.28)}, r"\[lo, hi\] = \[2.9, 0.28\]; it must be 0 <= lo < hi"),
        ({"weight": 2.0, "interval": (1.0, 1.0)}, "0 <= lo < hi"),
        ({"weight": math.nan}, "finite"),
    ],
)
def test_impossible_weights_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        WeightConfig(**settings)


def test_two_schedules_or_two_weights_are_an_error_that_names_both():
    with pytest.raises(UserError, match=r"schedule.shape is linear and schedule.table is given"):
        ScheduleConfig(shape="linear", table=((1, 2),))
    with pytest.raises(UserError, match=r"guidance.weight is 2.0 and guidance.schedule.table"):
        WeightConfig(weight=2.0, schedule=ScheduleConfig(table=((1, 2),)))
    for table in ((), ((1, 2), (1, 3)), ((0, 2),), ((1, math.inf),)):
        with pytest.raises(UserError, match=r"schedule\.table"):
            ScheduleConfig(table=table, over="sigma")


def test_an_interval_from_below_all_levels_holds_the_last_one():
    for lo in (0.001, 1e-9):
        assert weights(weight=2.0, interval=(lo, 80)) == [2.0] * 32
    assert weights(weight=2.0, interval=(SIGMAS[-1], 80)) == [2.0] * 31 + [1.0]


@pytest.mark.parametrize("settings", [{"direction": "decreasing"}, {"over": "sigma"}])
def test_schedule_settings_without_effect_are_refused(settings):
    with pytest.raises(UserError, match=f"schedule.{next(iter(settings))} is .* but schedule.shape is constant"):
        ScheduleConfig(**settings)
    with pytest.raises(UserError, match=r"schedule.direction is decreasing"):
        ScheduleConfig(direction="decreasing", over="sigma", table=((1, 2),))
