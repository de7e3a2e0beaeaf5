"""Settings of claims: sentences about rows, and the comparisons that decide them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edm2lite.config.units import check_choice, check_range
from edm2lite.errors import UserError

RELATIONS = ("lower", "higher", "same")
WEIGHT = "weight"  # in place of a metric: the best weight itself


@dataclass(frozen=True, kw_only=True)
class ComparisonConfig:
    """One comparison of two rows.

    Attributes:
        row: Whose value is claimed to be ...
        relation: ... lower or higher than, or the same as ...
        than: ... that of this row.
        metric: By which metric; null: the first. "weight" compares the best weights themselves.
        at: Guidance weight of `row`; null: its best one.
        than_at: Guidance weight of `than`, likewise.
        margin: lower, higher: by more than this; negative: up to so much on the other side still counts. same: within plus or
            minus this.
    """

    row: str
    relation: str
    than: str
    metric: str | None = None
    at: float | None = None
    than_at: float | None = None
    margin: float = 0.0

    def __post_init__(self) -> None:
        what = f"of the comparison of {self.row!r} and {self.than!r}"
        check_choice(f"relation {what}", self.relation, RELATIONS)
        ok = math.isfinite(self.margin) and (self.margin > 0 or self.relation != "same")
        check_range(f"margin {what}", ok, self.margin, "a finite number, and above 0 for relation same")
        if (self.row, self.at) == (self.than, self.than_at):
            raise UserError(
                f"row {self.row!r} is compared with itself; name another row, or other weights (at, than_at)"
            )
        if self.metric == WEIGHT and (self.at, self.than_at) != (None, None):
            raise UserError(
                f"the best weights {what} are compared, and at or than_at is given; leave one of the two out"
            )


@dataclass(frozen=True, kw_only=True)
class ClaimConfig:
    """A claim, to be found true or false.

    Attributes:
        says: The claim, in a sentence.
        checks: The comparisons that it stands for; all must hold.
    """

    says: str
    checks: tuple[ComparisonConfig, ...]

    def __post_init__(self) -> None:
        one_line = bool(self.says.strip()) and self.says.isprintable()
        check_range("says of a claim", one_line, repr(self.says), "one line of text, not empty")
        check_range(
            f"checks of claim {self.says!r}", len(self.checks) > 0, list(self.checks), "at least one comparison"
        )

    @staticmethod
    def from_plain(data: Mapping[str, Any]) -> "ClaimConfig":
        """The claim from its plain form, as `plain(asdict(...))` makes it."""
        return ClaimConfig(says=data["says"], checks=tuple(ComparisonConfig(**check) for check in data["checks"]))
