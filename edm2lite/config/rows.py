"""Settings of a table's rows: a pair, and what of it is tried."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

from edm2lite.config.guidance import GuidanceConfig, all_guides
from edm2lite.config.metrics import parse_metric
from edm2lite.config.models import ModelRef
from edm2lite.config.units import Nimg, check_choice, check_range
from edm2lite.errors import UserError

VARIED = {"weight": 1.0, "truncation": 1.0, "classifier": 0.0, "gradient": 0.0}  # and where it has no effect


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A pair and the row of settings to try: all combinations of the three lists.

    Attributes:
        name: How the table calls it.
        main: Degradations of the main model in this row, or another main model than the table's.
        guide: The guide's run directory and nimg, or its file; without a path there is none.
        guidance: Interval, schedule, classifier ...: all but what varies.
        vary: What `weights` are: weight (guidance.weight), truncation, classifier (its scale) or gradient (its scale).
        main_ema: EMA lengths of the main model; null: the shortest stored, or that of the file.
        guide_ema: EMA lengths of the guide, likewise.
        guide_nimg: Training lengths of the guide; null: guide.nimg, or the longest.
        weights: Guidance weights, or values of what varies; without any guidance: [1]. Of several guides (guidance.guides) the
            i-th gets 1 + (w - 1) (weight_i - 1), as the blends of 2024b, Eq. 6.
        published: What the literature gives for this row's best setting, by metric: {fid: 1.34, fd_dinov2: 36.67}. FID is
            compared with the minimum of the blocks, as the papers report it, every other metric with their mean.
    """

    name: str
    main: ModelRef = field(default_factory=ModelRef)
    guide: ModelRef = field(default_factory=ModelRef)
    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    vary: str = "weight"
    main_ema: tuple[float | None, ...] = (None,)
    guide_ema: tuple[float | None, ...] = (None,)
    guide_nimg: tuple[Nimg | None, ...] = (None,)
    weights: tuple[float, ...] = (1.0,)
    published: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one_line = bool(self.name.strip()) and self.name.isprintable()
        check_range("name of a row", one_line, repr(self.name), "one line of text, not empty")
        check_choice(f"vary of row {self.name!r}", self.vary, tuple(VARIED))
        self._check_published()
        self._check_guide_lists()
        for name in ("main_ema", "guide_ema", "guide_nimg", "weights"):
            given = getattr(self, name)
            ok = len(given) > 0 and len(set(given)) == len(given)
            check_range(f"{name} of row {self.name!r}", ok, list(given), "at least one value, and none twice")
        off = VARIED[self.vary]
        if self.alone:
            check_range(
                f"weights of row {self.name!r}", self.weights == (1.0,), list(self.weights), "1 without a guide"
            )
            if self.guidance != GuidanceConfig():
                raise UserError(
                    f"row {self.name!r} has guidance but no guide, and vary is weight; name a guide, or set vary to one of "
                    f"{', '.join(name for name in VARIED if name != 'weight')}"
                )
        else:
            self._check_varied()
            allowed = f"other than {off:g}, where there is no guidance"
            check_range(f"weights of row {self.name!r}", off not in self.weights, list(self.weights), allowed)
        for name in ("main", "guide"):
            ema = getattr(self, name).ema
            check_range(f"{name}.ema of row {self.name!r}", ema is None, ema, f"given as {name}_ema")
        if not self.alone:
            for weight in self.weights:
                all_guides(self.guide, self.guided_by(weight))

    def _check_published(self) -> None:
        """Raise a UserError if a published value is of no metric, or no number."""
        for metric, value in self.published.items():
            try:
                parse_metric(metric)
            except UserError as e:
                raise UserError(f"published of row {self.name!r}: {e}") from e
            check_range(f"published {metric} of row {self.name!r}", math.isfinite(value), value, "a finite number")

    def _check_guide_lists(self) -> None:
        """Raise a UserError if something of the guide is varied that is not there, or is fixed as well."""
        for name in ("guide_ema", "guide_nimg"):
            if getattr(self, name) != (None,) and self.guide.path is None:
                raise UserError(
                    f"{name} of row {self.name!r} is given, but the row has no guide.path; leave it out, or name one"
                )
        if self.guide_nimg != (None,) and self.guide.nimg is not None:
            raise UserError(
                f"row {self.name!r} has guide.nimg {self.guide.nimg} and guide_nimg {list(map(str, self.guide_nimg))}; "
                "leave one of the two out"
            )

    def _check_varied(self) -> None:
        """Raise a UserError if the guidance already has a value of what varies."""
        name = self.vary if self.vary in ("weight", "truncation") else f"{self.vary}.scale"
        given = {
            "weight": self.guidance.weight, "truncation": self.guidance.truncation,
            "classifier": self.guidance.classifier.scale, "gradient": self.guidance.gradient.scale,
        }[self.vary]  # fmt: skip
        if given not in (None, VARIED[self.vary]):
            raise UserError(
                f"guidance.{name} of row {self.name!r} is {given:g}, and its weights are {list(self.weights)}; "
                "leave one of the two out"
            )

    @property
    def alone(self) -> bool:
        """Whether nothing guides the main model."""
        return self.vary == "weight" and self.guide.path is None and not self.guidance.guides

    def guided_by(self, weight: float) -> GuidanceConfig:
        """The guidance at one of the weights."""
        if self.alone:
            return self.guidance
        if self.vary in ("classifier", "gradient"):
            scaled = replace(getattr(self.guidance, self.vary), scale=weight)
            return replace(self.guidance, **{self.vary: scaled})
        if self.vary == "weight" and self.guidance.guides:
            guides = (
                replace(g, weight=1 + (weight - 1) * ((1 if g.weight is None else g.weight) - 1))
                for g in self.guidance.guides
            )
            return replace(self.guidance, guides=tuple(guides))
        varied: dict[str, Any] = {self.vary: weight}
        return replace(self.guidance, **varied)
