"""Checks of an export before anything slow is imported or loaded. Imports no torch."""

from importlib.util import find_spec
from pathlib import Path

from edm2lite.config import ExportConfig, GuidanceConfig, all_guides
from edm2lite.errors import UserError
from edm2lite.snapshots.index import check_model


def preflight(cfg: ExportConfig) -> None:
    """Check that diffusers is there, the guidance, the names of the models, and the folder.

    Raises:
        UserError: For the first thing that is wrong.
    """
    if find_spec("diffusers") is None:
        raise UserError("export needs diffusers: pip install 'edm2lite[diffusers]'")
    all_guides(cfg.guide, GuidanceConfig.of(cfg.guidance))
    check_model(cfg.main, "main", cfg.models)
    if cfg.guide.path is not None:
        check_model(cfg.guide, "guide", cfg.models)
    if Path(cfg.dest).exists() and (not Path(cfg.dest).is_dir() or any(Path(cfg.dest).iterdir())):
        raise UserError(f"dest {cfg.dest} is there already and not an empty folder; choose another --dest")
