"""Checks of what a training is to watch before anything slow is imported. Imports no torch."""

from edm2lite.config.watching import WatchConfig
from edm2lite.sampling.preflight import check_reference_exists
from edm2lite.snapshots.fetch import resolve
from edm2lite.snapshots.index import check_model


def check_watch(cfg: WatchConfig) -> None:
    """Raise a UserError unless the reference statistics and the guide are there."""
    if cfg.ref is not None:
        check_reference_exists(cfg.ref)
    for guide in cfg.guides():
        check_model(resolve(guide, cfg.models), "guide")
