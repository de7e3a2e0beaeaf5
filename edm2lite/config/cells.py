"""The settings that a table's rows stand for."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

from edm2lite.config.guidance import GuidanceConfig, GuideConfig, all_guides
from edm2lite.config.models import ModelRef
from edm2lite.config.rows import TableRow


class HasRows(Protocol):
    """What has rows: a table of images, or of points."""

    @property
    def rows(self) -> tuple[TableRow, ...]:
        """What it tries."""

    def main_of(self, row: TableRow) -> ModelRef:
        """The main model of a row."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One setting of a row."""

    row: TableRow
    main: ModelRef
    guides: tuple[GuideConfig, ...]
    guidance: GuidanceConfig
    weight: float

    @property
    def parts(self) -> tuple[tuple[str, ModelRef], ...]:
        """Its models with their parts: main, guides and, if there is one, the classifier."""
        classifier = self.guidance.classifier.model
        guides = (("guide", guide) for guide in self.guides)
        return (("main", self.main), *guides, *([("classifier", classifier)] if classifier.path is not None else []))


def cells(cfg: HasRows) -> Iterator[Cell]:
    """All settings of a table, row by row."""
    for row in cfg.rows:
        for main_ema, guide_nimg, guide_ema, weight in itertools.product(
            row.main_ema, row.guide_nimg, row.guide_ema, row.weights
        ):
            yield cell(cfg, row, main_ema, guide_ema, guide_nimg, weight)


def cell(
    cfg: HasRows, row: TableRow, main_ema: float | None, guide_ema: float | None, guide_nimg: Any, weight: float
) -> Cell:
    """One setting of a row; `guide_nimg` None: the guide's own."""
    guide, guidance = replace(row.guide, ema=guide_ema), row.guided_by(weight)
    if guide_nimg is not None:
        guide = replace(guide, nimg=guide_nimg)
    main = replace(cfg.main_of(row), ema=main_ema)
    return Cell(row=row, main=main, guides=all_guides(guide, guidance), guidance=guidance, weight=weight)
