"""Checks of a sampling job before anything slow is imported or loaded. Imports no torch."""

import os

from edm2lite.config import DataConfig, GuidanceConfig, ModelRef, TableConfig, all_guides, parse_seeds
from edm2lite.config.cells import cells
from edm2lite.errors import UserError
from edm2lite.ranks import parse_shard
from edm2lite.snapshots.fetch import resolve
from edm2lite.snapshots.index import check_model


def preflight(
    main: ModelRef, guide: ModelRef, guidance: GuidanceConfig, seeds: str, shard: str | None = None,
    models: str | None = None,
) -> None:  # fmt: skip
    """Check seeds, shard, guidance and the names of the models.

    Raises:
        UserError: For the first thing that is wrong.
    """
    parse_seeds(seeds)
    parse_shard(shard)
    guides = all_guides(guide, guidance)
    check_model(resolve(main, models), "main")
    for cfg in guides:
        check_model(resolve(cfg, models), "guide")
    if guidance.classifier.path is not None:
        check_model(resolve(guidance.classifier.model, models), "classifier")


def preflight_table(cfg: TableConfig) -> None:
    """Check the references and the names of all models of a table."""
    if not cfg.rows:
        raise UserError(
            "the table has no rows; give some in a YAML file: evaluate.py table -c configs/tables/digits.yaml"
        )
    parse_shard(cfg.shard)
    check_reference_exists(cfg.ref, cfg.ref_data)
    parts = {(part, ref.path, ref.nimg, ref.ema): ref for setting in cells(cfg) for part, ref in setting.parts}
    for (part, *_), ref in parts.items():
        check_model(ref, part, cfg.models)


def check_result(path: str | None) -> None:
    """Raise a UserError if the file for a result is a folder."""
    if path is not None and os.path.isdir(path):
        raise UserError(f"out is {path}, a folder; name a file to write")


def check_reference_exists(path: str, data: DataConfig | None = None) -> None:
    """Raise a UserError that says how to make them, of `data` if known, unless there are reference statistics."""
    if not os.path.isfile(path):
        named = "" if data is None else f" --data.path {data.path}" if data.path else f" --data.name {data.name}"
        raise UserError(
            f"reference statistics {path} do not exist; make them with: evaluate.py ref --out {path}{named}"
        )
