"""Several workers of a sweep on one machine. Imports no torch."""

import sys
from collections.abc import Callable
from pathlib import Path

from edm2lite.config.sweeps import SweepConfig
from edm2lite.errors import UserError
from edm2lite.evaluation.sweeps.journal import FILE

WRITTEN = ".outcome"  # in the sweep's folder, written after everything else


def despite_losses(cfg: SweepConfig, launch: Callable[[], int]) -> int:
    """Start workers; if one of them dies, but the others finish the sweep, all is well.

    Args:
        cfg: The sweep.
        launch: Starts them, waits for them, and returns the exit status.

    Raises:
        UserError: If workers ended early and the sweep is not finished.
    """
    try:
        return launch()
    except UserError as e:
        if not is_finished(cfg):
            raise
        print(f"{str(e).split(';')[0]}; the others did their work, too", file=sys.stderr)
        return 0


def is_finished(cfg: SweepConfig) -> bool:
    """Whether the outcome is newer than the journal."""
    written, journal = Path(cfg.outdir) / WRITTEN, Path(cfg.outdir) / FILE
    return written.is_file() and journal.is_file() and written.stat().st_mtime_ns >= journal.stat().st_mtime_ns
