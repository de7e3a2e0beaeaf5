"""How models are combined into a guided denoiser."""

import math
from dataclasses import dataclass, field
from typing import Any

from edm2lite.config.models import ModelRef
from edm2lite.config.units import Nimg, check_choice, check_range
from edm2lite.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How the weight changes while the noise falls: w = 1 + (weight - 1) f, with f between 0 and 1.

    Attributes:
        shape: constant (f = 1), linear or cosine.
        direction: increasing (f from 0 at the highest noise level to 1 at the lowest) or decreasing.
        over: step (f runs with the number of the noise level) or sigma (with ln sigma).
        table: Instead of a shape and a weight: pairs [at, w], where `at` is a noise level (over: sigma) or the number of a step
            from 0 (over: step); w is interpolated between them, linearly in ln sigma or in the step, and constant beyond.
    """

    shape: str = "constant"
    direction: str = "increasing"
    over: str = "step"
    table: tuple[tuple[float, float], ...] | None = None

    def __post_init__(self) -> None:
        check_choice("schedule.shape", self.shape, ("constant", "linear", "cosine"))
        check_choice("schedule.direction", self.direction, ("increasing", "decreasing"))
        check_choice("schedule.over", self.over, ("step", "sigma"))
        self._check_used()
        if self.table is None:
            return
        if self.shape != "constant":
            raise UserError(
                f"two schedules: schedule.shape is {self.shape} and schedule.table is given, too; leave one of them out"
            )
        at = [point[0] for point in self.table]
        ok = len(at) > 0 and len(set(at)) == len(at) and all(math.isfinite(n) for point in self.table for n in point)
        check_range(
            "schedule.table", ok, [list(p) for p in self.table], "pairs [at, w] of finite numbers, each `at` once"
        )
        low_enough = min(at) > 0 if self.over == "sigma" else min(at) >= 0
        check_range("schedule.table", low_enough, min(at), "at noise levels above 0, or at steps from 0 on")

    def _check_used(self) -> None:
        """Raise a UserError if a setting would have no effect."""
        unused = {"direction": self.direction != "increasing", "over": self.over != "step" and self.table is None}
        for name, given in unused.items():
            if given and self.shape == "constant":
                raise UserError(
                    f"schedule.{name} is {getattr(self, name)} but schedule.shape is constant, where it has no effect; "
                    f"set a shape (linear or cosine), or leave {name} out"
                )


@dataclass(frozen=True, kw_only=True)
class WeightConfig:
    """Guidance weight over the noise levels.

    Attributes:
        weight: w in D_guide + w (D_main - D_guide); 1: the main model alone.
        interval: [lo, hi]: the weight applies for sigma in (lo, hi], elsewhere it is 1; both snap to the nearest noise level.
        schedule: How the weight changes over the noise levels.
    """

    weight: float | None = None
    interval: tuple[float, float] | None = None
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    def __post_init__(self) -> None:
        finite = self.weight is None or math.isfinite(self.weight)
        check_range("guidance.weight", finite, self.weight, "a finite number")
        if self.weight is not None and self.schedule.table is not None:
            raise UserError(
                f"two weights: guidance.weight is {self.weight} and guidance.schedule.table holds others; leave one of them out"
            )
        if self.interval is not None:
            lo, hi = self.interval
            check_range(
                "guidance.interval",
                0 <= lo < hi,
                f"[lo, hi] = [{lo}, {hi}]",
                "0 <= lo < hi: noise levels, as in [0.28, 2.9]",
            )

    @property
    def active(self) -> bool:
        """Whether there is a weight other than 1 anywhere."""
        return self.schedule.table is not None or self.weight not in (None, 1)


@dataclass(frozen=True, kw_only=True)
class GuideConfig(ModelRef, WeightConfig):
    """One of several guides: a model with its own weight, interval and schedule."""

    def __post_init__(self) -> None:
        ModelRef.__post_init__(self)
        WeightConfig.__post_init__(self)
        check_range("path of a guide", self.path is not None, self.path, "a run directory or a file")
        if not self.active:
            raise UserError(
                f"guide {self.path} has weight {self.weight}; give it another weight than 1, or leave it out"
            )


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """Classifier guidance (Dhariwal and Nichol 2021): the denoised image is moved by scale sigma^2 grad_x log p(c | x; sigma).

    Attributes:
        path: Classifier trained on noisy images by train.py (configs/digits/classifier.yaml): run directory or snapshot.
        nimg: Which snapshot of a run directory; default: the last.
        ema: EMA length; default: the shortest stored.
        scale: s; 0: off.
    """

    path: str | None = None
    nimg: Nimg | None = None
    ema: float | None = None
    scale: float = 0.0

    def __post_init__(self) -> None:
        check_range("guidance.classifier.scale", math.isfinite(self.scale), self.scale, "a finite number")

    @property
    def model(self) -> ModelRef:
        """The classifier's name."""
        return ModelRef(path=self.path, nimg=self.nimg, ema=self.ema)


@dataclass(frozen=True, kw_only=True)
class GradientConfig:
    """Guidance by the gradient of a function of the denoised image, such as CLIP's similarity to a text.

    Attributes:
        function: What makes the function: "module:name", called with `arguments`; see edm2lite/guidance/gradient.py.
        arguments: Its keyword arguments.
        scale: s: the denoised image is moved by s sigma^2 times the gradient; 0: off.
        through: network (the gradient with respect to x, through the denoiser) or denoised (with respect to the denoised image:
            cheaper, no backward pass through the network).
    """

    function: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    scale: float = 0.0
    through: str = "network"

    def __post_init__(self) -> None:
        check_choice("guidance.gradient.through", self.through, ("network", "denoised"))
        check_range("guidance.gradient.scale", math.isfinite(self.scale), self.scale, "a finite number")


@dataclass(frozen=True, kw_only=True)
class GuidanceConfig(WeightConfig):
    """How main and guides are combined; everything here composes, in the order of docs/guidance.md.

    Attributes:
        guides: Several guides, each with its own weight (2024b, Eq. 6), instead of `guide`.
        truncation: Factor on the score of what main and guides make together; 1: off.
        classifier: A noise-conditional classifier.
        gradient: Any differentiable function of the denoised image.
    """

    guides: tuple[GuideConfig, ...] = ()
    truncation: float = 1.0
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    gradient: GradientConfig = field(default_factory=GradientConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        ok = math.isfinite(self.truncation) and self.truncation > 0
        check_range("guidance.truncation", ok, self.truncation, "a positive number")
        if self.guides and (self.weight is not None or self.interval is not None or self.schedule != ScheduleConfig()):
            raise UserError(
                "guidance.guides is given, and guidance.weight, interval or schedule, too; give each of the guides its own"
            )

    @staticmethod
    def of(weights: WeightConfig) -> "GuidanceConfig":
        """Guidance by one guide with this weight, and by nothing else."""
        return GuidanceConfig(weight=weights.weight, interval=weights.interval, schedule=weights.schedule)


def all_guides(guide: ModelRef, guidance: GuidanceConfig) -> tuple[GuideConfig, ...]:
    """The guides of a pair: of `guide` with `guidance.weight`, or of `guidance.guides`.

    Raises:
        UserError: If the guidance is not complete: a weight without a guide, a guide without a weight or with w = 1, both ways
            of naming guides, a scale without its classifier or function, or the other way round.
    """
    _check_extras(guidance)
    if guidance.guides:
        if guide.path is not None:
            raise UserError(
                f"guide.path is {guide.path} and guidance.guides names others; put all guides into guidance.guides"
            )
        return guidance.guides
    if guide.path is None:
        _check_no_guide(guide, guidance)
        return ()
    if guidance.weight is None and guidance.schedule.table is None:
        raise UserError("a guide is named (guide.path) but no weight; set --guidance.weight to another value than 1")
    if not guidance.active:
        raise UserError(
            f"guide.path is {guide.path} but guidance.weight is 1, the main model alone; "
            "change the weight, or leave the guide out"
        )
    model = {name: getattr(guide, name) for name in ModelRef.__dataclass_fields__}
    return (GuideConfig(**model, weight=guidance.weight, interval=guidance.interval, schedule=guidance.schedule),)


def _check_no_guide(guide: ModelRef, guidance: GuidanceConfig) -> None:
    """Raise a UserError if anything is set that only a guide gives a meaning."""
    given = {
        f"guidance.weight is {guidance.weight}": guidance.weight not in (None, 1),
        "guidance.schedule is given": guidance.schedule != ScheduleConfig(),
        "guidance.interval is given": guidance.interval is not None,
        "a degradation of guide is given": bool(guide.degradations),
    }
    for what, is_given in given.items():
        if is_given:
            raise UserError(f"{what} but there is no guide; name one with --guide.path, or leave it out")


def _check_extras(guidance: GuidanceConfig) -> None:
    """Raise a UserError unless classifier and function have a scale, and the other way round."""
    for name, given, scale in (
        ("classifier.path", guidance.classifier.path, guidance.classifier.scale),
        ("gradient.function", guidance.gradient.function, guidance.gradient.scale),
    ):
        if (given is None) != (scale == 0):
            raise UserError(
                f"guidance.{name} is {given} and guidance.{name.split('.')[0]}.scale is {scale:g}; "
                "set both (a scale other than 0), or neither"
            )
