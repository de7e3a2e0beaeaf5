"""Verdicts on the claims of a table. Imports no torch."""

from collections.abc import Sequence

from edm2lite.config import parse_metric
from edm2lite.config.claims import ClaimConfig
from edm2lite.evaluation.claims import Evidence, Verdict, judge
from edm2lite.evaluation.tables.results import Table


def verdicts(table: Table) -> list[Verdict]:
    """The verdict on each claim of a table's configuration, in their order.

    A setting of a row is a weight with EMA lengths and a training length of the guide; the best one is the best of all these.
    """

    def look_up(row: str, metric: str) -> Sequence[tuple[float, Sequence[float]]]:
        name = parse_metric(metric).name
        return [(r.weight, r.values(name)) for r in table.results if r.row == row]

    evidence = Evidence(look_up, table.first, parse_metric(table.first).lower_is_better)
    return [judge(ClaimConfig.from_plain(claim), evidence) for claim in table.config.get("claims", ())]
