"""Checks of a sampling job before anything slow is imported or loaded. Imports no torch."""

import os

from edm2lite.config import GuidanceConfig, ModelRef, TableConfig, parse_seeds
from edm2lite.errors import UserError
from edm2lite.ranks import parse_shard
from edm2lite.snapshots.index import check_model


def preflight(
    main: ModelRef, guide: ModelRef, guidance: GuidanceConfig, seeds: str, shard: str | None = None
) -> None:  # fmt: skip
    """Check seeds, shard, guidance and the names of the models.

    Raises:
        UserError: For the first thing that is wrong.
    """
    parse_seeds(seeds)
    parse_shard(shard)
    check_guidance(guide, guidance)
    check_model(main, "main")
    if guide.path is not None:
        check_model(guide, "guide")


def check_guidance(guide: ModelRef, guidance: GuidanceConfig) -> float:
    """The weight; a UserError for a weight without a guide, or a guide without a weight."""
    if guide.path is None and guidance.weight not in (None, 1):
        raise UserError(
            f"guidance.weight is {guidance.weight} but there is no guide; name one with --guide.path, or set the weight to 1"
        )
    if guide.path is not None and guidance.weight is None:
        raise UserError("a guide is named but no weight; set --guidance.weight (1 would be the main model alone)")
    return 1.0 if guidance.weight is None else guidance.weight


def preflight_table(cfg: TableConfig) -> None:
    """Check the references and the names of all models of a table."""
    if not cfg.rows:
        raise UserError(
            "the table has no rows; give some in a YAML file: evaluate.py table -c configs/tables/digits.yaml"
        )
    check_reference_exists(cfg.ref)
    check_model(cfg.main, "main")
    for row in cfg.rows:
        if row.guide.path is not None:
            check_model(row.guide, "guide")


def check_reference_exists(path: str) -> None:
    """Raise a UserError that says how to make them unless there are reference statistics."""
    if not os.path.isfile(path):
        raise UserError(f"reference statistics {path} do not exist; make them with: evaluate.py ref --out {path}")
