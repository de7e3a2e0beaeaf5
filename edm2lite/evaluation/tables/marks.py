"""Which results of a table are best by a metric, and which cannot be told apart from it. Imports no torch."""

from edm2lite.evaluation.metrics.uncertainty import statistically_tied
from edm2lite.evaluation.tables.result import best_of
from edm2lite.evaluation.tables.results import Table

BEST, TIED = "best", "tied"


def marks(table: Table, metric: str) -> list[str]:
    """`BEST`, `TIED` or "" for every result, in their order.

    All results share their seeds, so that it is the difference block by block that tells two apart, or does not; see
    `edm2lite.evaluation.metrics.uncertainty.statistically_tied`.
    """
    best = best_of(table.results, metric)
    if best is None:
        return []
    blocks = best.blocks(metric)
    return [BEST if r is best else TIED if statistically_tied(blocks, r.blocks(metric)) else "" for r in table.results]
