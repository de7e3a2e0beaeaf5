"""Checks of a sweep before anything slow is imported or loaded. Imports no torch."""

from edm2lite.config.sweeps import SweepConfig, models_of
from edm2lite.sampling.preflight import check_reference_exists
from edm2lite.snapshots.fetch import resolve
from edm2lite.snapshots.index import check_model


def preflight_sweep(cfg: SweepConfig) -> None:
    """Raise a UserError unless there are the reference and the models at all their training and EMA lengths."""
    check_reference_exists(cfg.ref)
    for name, ref in models_of(cfg):
        check_model(resolve(ref, cfg.models), name)
