"""All ways of guiding on the 2D example against the exact distribution: a table, curves, verdicts on claims, and a search."""

from pathlib import Path

from edm2lite.config import Toy2dMeasureConfig
from edm2lite.evaluation.claims import Evidence, Verdict, judge
from edm2lite.evaluation.tables.result import Result
from edm2lite.toy2d.closest import find_closest
from edm2lite.toy2d.curves import write_curves
from edm2lite.toy2d.preflight import preflight
from edm2lite.toy2d.scores import score
from edm2lite.toy2d.table import FIRST, write_table


def measure(cfg: Toy2dMeasureConfig) -> None:
    """Measure every setting on every block of seeds, judge the claims, find what comes closest; write and print all of it.

    Finished blocks are kept in `results/`, each under everything that decides its numbers, so an interrupted or extended table
    computes only what is missing.

    Raises:
        UserError: Before any work, if a model is missing, or a setting or a claim makes no sense.
    """
    settings = [None, *preflight(cfg)]
    results = score(cfg, settings, cfg.first_seed, cfg.title)
    files = write_table(cfg, results, verdicts(cfg, results), find_closest(cfg, settings, results))
    files += write_curves(Path(cfg.outdir), cfg.panels, results)
    print(f"\n{cfg.outdir}: {', '.join(file.name for file in files)}")


def verdicts(cfg: Toy2dMeasureConfig, results: list[Result]) -> list[Verdict]:
    """The verdict on each claim."""
    evidence = Evidence(lambda row, metric: [(r.weight, r.values(metric)) for r in results if r.row == row], FIRST)
    return [judge(claim, evidence) for claim in cfg.claims]
