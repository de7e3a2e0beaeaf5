"""Names of metrics: what is computed, in the features of which detector."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from edm2lite.errors import UserError, unknown_name

KINDS = {  # name -> title, whether lower is better
    "fd": ("FD", True),
    "kd": ("KD", True),
    "is": ("IS", False),
    "precision": ("precision", False),
    "recall": ("recall", False),
    "density": ("density", False),
    "coverage": ("coverage", False),
    "fd_per_class": ("FD per class", True),
}
DETECTORS = ("inception", "dinov2", "digits", "patches")  # and any module: MODULE:FACTORY
_TITLES = {"inception": "Inception", "dinov2": "DINOv2"}
_SHORT = {("fd", "inception"): "fid", ("kd", "inception"): "kid", ("fd_per_class", "inception"): "fid_per_class"}
_FULL = {short: full for full, short in _SHORT.items()} | {"is": ("is", "inception")}
_PRDC = ("precision", "recall", "density", "coverage")


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        kind: One of `KINDS`.
        detector: One of `DETECTORS` or MODULE:FACTORY; None: the only detector of the reference.
    """

    kind: str
    detector: str | None = None

    @property
    def name(self) -> str:
        """As it is configured: fid, kid, fd_dinov2, precision_inception, fd@MODULE:FACTORY, fd ..."""
        if self.detector is None:
            return self.kind
        if ":" in self.detector:
            return f"{self.kind}@{self.detector}"
        if (self.kind, self.detector) == ("is", "inception"):
            return "is"
        return _SHORT.get((self.kind, self.detector), f"{self.kind}_{self.detector}")

    @property
    def title(self) -> str:
        """For people: FID, FD-DINOv2, KID, IS, precision (DINOv2) ..."""
        title = {"fid": "FID", "kid": "KID", "is": "IS", "fid_per_class": "FID per class"}.get(self.name)
        if title or self.detector is None:
            return title or KINDS[self.kind][0]
        detector = _TITLES.get(self.detector, self.detector.split(":")[-1])
        return (
            f"{KINDS[self.kind][0]}-{detector}" if self.kind in ("fd", "kd") else f"{KINDS[self.kind][0]} ({detector})"
        )

    @property
    def lower_is_better(self) -> bool:
        return KINDS[self.kind][1]


def parse_metric(text: str) -> Metric:
    """The metric of a name.

    Raises:
        UserError: If there is no such metric; lists those there are.
    """
    if text in _FULL:
        return Metric(*_FULL[text])
    kind, at, module = text.partition("@")
    if at and kind in KINDS and re.fullmatch(r"[\w.]+:\w+", module):
        return Metric(kind, module)
    for kind in sorted(KINDS, key=len, reverse=True):
        if text == kind:
            return Metric(kind)
        if text.startswith(f"{kind}_") and text.removeprefix(f"{kind}_") in DETECTORS:
            return Metric(kind, text.removeprefix(f"{kind}_"))
    kinds = [kind for kind in KINDS if kind != "is"]
    raise unknown_name(
        "metric",
        text,
        [*_FULL, "prdc", *kinds, f"KIND_DETECTOR with a detector of {', '.join(DETECTORS)}", "KIND@MODULE:FACTORY"],
    )


def parse_metrics(names: Iterable[str]) -> tuple[Metric, ...]:
    """The metrics of some names, each once; "prdc" and "prdc_DETECTOR" are precision, recall, density and coverage.

    Raises:
        UserError: If there is none, or no such metric.
    """
    metrics: dict[Metric, None] = {}
    for name in names:
        known = re.fullmatch(r"prdc((?:_\w+|@[\w.]+:\w+)?)", name)
        for single in [f"{kind}{known[1]}" for kind in _PRDC] if known else [name]:
            metrics[parse_metric(single)] = None
    if not metrics:
        raise UserError("no metrics are named; name some, for example --metrics '[fid, fd_dinov2, prdc]'")
    return tuple(metrics)
