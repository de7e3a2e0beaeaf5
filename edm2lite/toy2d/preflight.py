"""Checks of a measurement before any work."""

from edm2lite.config import Toy2dMeasureConfig
from edm2lite.config.cells import Cell, cells
from edm2lite.config.claims import WEIGHT
from edm2lite.errors import UserError, unknown_name
from edm2lite.sampling.compose import weights
from edm2lite.snapshots.posthoc import reconstruct_for
from edm2lite.toy2d.jobs import guided_pair
from edm2lite.toy2d.models import is_exact
from edm2lite.toy2d.yardstick import METRICS


def preflight(cfg: Toy2dMeasureConfig) -> list[Cell]:
    """All settings, when their models are there and can do what is asked of them; makes the EMA lengths they need.

    Raises:
        UserError: For the first thing that is wrong.
    """
    if not cfg.rows:
        raise UserError(
            "the table has no rows; give some in a YAML file: edm2lite toy2d measure -c configs/toy2d/methods.yaml"
        )
    _check_metrics(cfg)
    wanted = list(cells(cfg))
    for cell in wanted:
        if cell.main.path is None:
            raise UserError(f"row {cell.row.name!r} has no main model; name one: --main.path runs/toy2d/main")
        weights([(None, guide) for guide in cell.guides], cfg.sampler)
    reconstruct_for(ref for cell in wanted for ref in (cell.main, *cell.guides) if not is_exact(ref.path))
    for cell in wanted:
        guided_pair(cell, cfg.sampler, cfg.classes)
    return wanted


def _check_metrics(cfg: Toy2dMeasureConfig) -> None:
    """Raise a UserError if a claim is about a metric that there is not."""
    allowed = [name for name in METRICS if name != "leakage" or cfg.classes != "AB"]
    for claim in cfg.claims:
        for check in claim.checks:
            if check.metric not in (None, WEIGHT, *allowed):
                raise unknown_name(f"metric of claim {claim.says!r}", check.metric, [*allowed, WEIGHT])
