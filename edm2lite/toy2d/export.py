"""A measurement for other programs: CSV in long form, JSON."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edm2lite.config import Toy2dMeasureConfig, plain
from edm2lite.evaluation.claims import Verdict
from edm2lite.evaluation.tables.result import Result
from edm2lite.files import write_text
from edm2lite.toy2d.closest import Closest
from edm2lite.toy2d.yardstick import METRICS

_ABOUT = ("row", "main_ema", "guide_ema", "guide_nimg", "vary", "weight", "first_seed")


def write_csv(path: Path, results: Sequence[Result]) -> None:
    """A line for every setting and metric: nothing is rounded, blocks are separated by spaces."""
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows(_csv_rows(results))
    write_text(path, lines.getvalue())


def _csv_rows(results: Sequence[Result]) -> Iterator[list[Any]]:
    yield [*_ABOUT, "metric", "mean", "sd", "values"]
    for r in results:
        for name in r.scores:
            values = " ".join(map(repr, r.values(name)))
            yield [*(getattr(r, key) for key in _ABOUT), name, r.mean(name), r.spread(name), values]


def as_data(
    cfg: Toy2dMeasureConfig, results: Sequence[Result], verdicts: Sequence[Verdict], closest: Sequence[Closest]
) -> dict[str, Any]:
    """Everything, for other programs."""
    return {
        "config": plain(asdict(cfg)),
        "metrics": {name: asdict(METRICS[name]) for name in results[0].scores},
        "settings": [_setting(r) for r in results],
        "claims": [asdict(verdict) | {"word": verdict.word} for verdict in verdicts],
        "closest": [_found(found) for found in closest],
    }


def _setting(r: Result) -> dict[str, Any]:
    about = {key: getattr(r, key) for key in _ABOUT}
    return about | {"metrics": {m: {"mean": r.mean(m), "sd": r.spread(m), "values": r.values(m)} for m in r.scores}}


def _found(found: Closest) -> dict[str, Any]:
    fresh = {
        "best": found.best,
        "fresh": found.fresh,
        "fresh_alone": found.fresh_alone,
        "fresh_truth": found.fresh_truth,
    }
    results = {name: _setting(r) if r is not None else None for name, r in fresh.items()}
    return {
        "metric": found.metric,
        "says": str(found),
        "chosen": found.chosen,
        "values": found.values,
        **results,
        "exact": found.exact,
    }
