"""Guidance weights as functions of the noise level: constant, schedules, tables, and the guidance interval.

Interval: Kynkaanniemi et al. 2024, arXiv 2404.07724. Schedules: Wang et al. 2024, arXiv 2404.13040, here by their largest
weight and not normalised: linear and cosine spend half the guidance of the constant weight.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence

from edm2lite.config import ScheduleConfig, WeightConfig

Weight = Callable[[float], float]  # noise level -> w; 1: no guidance there
_ROUNDING = 1e-6  # relative: noise levels reach the denoiser in float32


def weight_function(cfg: WeightConfig, sigmas: Sequence[float]) -> Weight:
    """The weight that a configuration asks for.

    Args:
        cfg: Weight or table, schedule, interval.
        sigmas: The sampler's noise levels, falling, without the final 0.

    Returns:
        w(sigma), exactly 1 where there is no guidance. Between noise levels (churn, midpoints) schedules are interpolated.
    """
    weight = 1.0 if cfg.weight is None else cfg.weight
    inside = _inside(cfg.interval, sigmas)
    if cfg.schedule.table is not None:
        scheduled = _table(cfg.schedule, sigmas)
    else:
        fraction = _fraction(cfg.schedule, sigmas)
        scheduled = lambda sigma: 1 + (weight - 1) * fraction(sigma)  # noqa: E731
    return lambda sigma: scheduled(sigma) if inside(sigma) else 1.0


def snap(sigma: float, sigmas: Sequence[float]) -> float:
    """The nearest noise level, in ln sigma; 0 and infinity stay."""
    if sigma == 0 or math.isinf(sigma):
        return sigma
    return min(sigmas, key=lambda level: abs(math.log(level / sigma)))


def _inside(interval: tuple[float, float] | None, sigmas: Sequence[float]) -> Callable[[float], bool]:
    """Whether a noise level lies in (lo, hi], the ends moved to noise levels."""
    if interval is None:
        return lambda sigma: True
    lo, hi = (snap(end, sigmas) for end in interval)
    if interval[0] < sigmas[-1]:
        lo = 0  # below all levels, the last is inside, too
    if hi == sigmas[0]:
        hi = math.inf  # churn raises the first level above itself
    return lambda sigma: lo * (1 + _ROUNDING) < sigma <= hi * (1 + _ROUNDING)


def _fraction(cfg: ScheduleConfig, sigmas: Sequence[float]) -> Weight:
    """f(sigma) in [0, 1] of a schedule's shape."""
    position = _position(cfg.over, sigmas)
    last = position(sigmas[-1]) or 1.0  # a single level is the first of its schedule
    shapes: dict[str, Weight] = {
        "constant": lambda u: 1.0,
        "linear": lambda u: u,
        "cosine": lambda u: (1 - math.cos(math.pi * u)) / 2,
    }
    shape = shapes[cfg.shape]

    def fraction(sigma: float) -> float:
        u = min(max(position(sigma) / last, 0.0), 1.0)
        f = shape(u if cfg.direction == "increasing" else 1 - u)
        return f if f > _ROUNDING else 0.0  # at its zero the guide is not run

    return fraction


def _position(over: str, sigmas: Sequence[float]) -> Weight:
    """How far a noise level lies from the highest one: in ln sigma, or in steps."""
    logs = [math.log(sigmas[0] / sigma) for sigma in sigmas]  # rising from 0
    if over == "sigma":
        return lambda sigma: math.log(sigmas[0] / sigma)
    return lambda sigma: interpolate(math.log(sigmas[0] / sigma), logs, range(len(logs)))


def _table(cfg: ScheduleConfig, sigmas: Sequence[float]) -> Weight:
    """Weights of a table, interpolated in ln sigma or in the step."""
    assert cfg.table is not None
    if cfg.over == "step":
        points, position = sorted(cfg.table), _position("step", sigmas)
    else:
        points, position = sorted((math.log(at), w) for at, w in cfg.table), math.log
    at, weights = [p[0] for p in points], [p[1] for p in points]
    return lambda sigma: interpolate(position(sigma), at, weights)


def interpolate(x: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    """Piecewise linear through (xs, ys), xs rising; constant beyond them, and exact (to float32's rounding of x) at them."""
    right = bisect_left(xs, x)
    for i in (right - 1, right):
        if 0 <= i < len(xs) and abs(x - xs[i]) <= _ROUNDING * max(1.0, abs(x)):
            return float(ys[i])
    if right == 0 or right == len(xs):
        return float(ys[0 if right == 0 else -1])
    share = (x - xs[right - 1]) / (xs[right] - xs[right - 1])
    return ys[right - 1] + share * (ys[right] - ys[right - 1])
