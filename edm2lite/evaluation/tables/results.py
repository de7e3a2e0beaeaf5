"""Scored settings, what they say, and the file that keeps them. Imports no torch."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edm2lite.errors import UserError
from edm2lite.evaluation.score import Score
from edm2lite.evaluation.tables.result import Result, best_of, compare, ema_text, number, rank
from edm2lite.files import write_json

__all__ = [
    "Result",
    "Table",
    "best_of",
    "compare",
    "ema_text",
    "number",
    "rank",
    "read_table",
    "read_tables",
    "save_table",
]


@dataclass(frozen=True)
class Table:
    """All results of a table or a sweep.

    Attributes:
        results: In the order of the configuration.
        confirmed: Best unguided (False) and best guided (True) setting again, on fresh seeds.
        config: The table's configuration (`TableConfig`), as plain data.
        metrics: Names of the metrics, the first one decides what is best.
        protocol: Of each metric, everything besides the images that changes its value: detector, reference, subsets ...
        reference: What the reference is: file, name, num_images ...
        made_with: Device and versions of the process that wrote it; scores in its ledger may be from others.
    """

    results: list[Result]
    confirmed: dict[bool, Result]
    config: dict[str, Any]
    metrics: tuple[str, ...]
    protocol: dict[str, dict[str, Any]]
    reference: dict[str, Any]
    made_with: dict[str, Any] = field(default_factory=dict)

    @property
    def first(self) -> str:
        """The metric that decides what is best."""
        return self.metrics[0]

    def best(self, guided: bool, metric: str | None = None) -> Result | None:
        """The best mean among the guided or the unguided results; None: there are no such results."""
        return best_of([r for r in self.results if r.guided == guided], metric or self.first)

    def best_of_rows(self, metric: str | None = None) -> list[Result]:
        """Each row at its best mean by a metric (default: the first), the best row first."""
        metric, rows = metric or self.first, dict.fromkeys(r.row for r in self.results)
        best = [best_of([r for r in self.results if r.row == row], metric) for row in rows]
        return sorted((r for r in best if r), key=lambda r: rank(r, metric))

    def verdict(self) -> list[str]:
        """Whether guidance beats the best unguided result, on the seeds of the search and on fresh ones."""
        lines, unguided, guided = [], self.best(False), self.best(True)
        if unguided and guided:
            lines.append(f"best alone:  {unguided.setting}")
            lines.append(f"best guided: {guided.setting}")
            lines.append(compare("in the table", unguided, guided, self.first))
        if self.confirmed:
            lines.append(compare("fresh seeds", self.confirmed[False], self.confirmed[True], self.first))
        return lines


def save_table(
    outdir: Path, table: Table, summary: Sequence[dict[str, Any]] = (), claims: Sequence[dict[str, Any]] = ()
) -> None:
    """Write table.json, which `read_table` reads; `summary` and the verdicts on `claims` are for other programs."""
    confirmed = {str(guided): asdict(result) for guided, result in table.confirmed.items()}
    data = asdict(table) | {
        "confirmed": confirmed,
        "verdict": table.verdict(),
        "summary": list(summary),
        "claims": list(claims),
    }
    write_json(outdir / "table.json", data)


def read_table(outdir: str | Path) -> Table:
    """Read what `save_table` wrote.

    Raises:
        UserError: If there is no finished table.
    """
    path = Path(outdir) / "table.json"
    if not path.is_file():
        raise UserError(f"{outdir} holds no finished table; compute it with: evaluate.py table -c TABLE.yaml")
    try:
        data = json.loads(path.read_text())
        for derived in ("verdict", "summary"):
            data.pop(derived)
        data.pop("claims", None)  # tables of earlier versions have none
        data["confirmed"] = {key == "True": _result(value) for key, value in data["confirmed"].items()}
        data["results"] = [_result(value) for value in data["results"]]
        if not data["results"]:
            raise ValueError("it has no results")
        return Table(**data | {"metrics": tuple(data["metrics"])})
    except (ValueError, TypeError, KeyError, AttributeError) as e:
        raise UserError(
            f"{path} is damaged, or of another version ({e}); run its evaluate.py table command again"
        ) from e


def read_tables(outdirs: Sequence[str]) -> list[Table]:
    """Read several tables.

    Raises:
        UserError: If none is named, or one is not finished.
    """
    if not outdirs:
        raise UserError("no tables were named; name the output directories of tables: --tables '[runs/demo/digits]'")
    return [read_table(outdir) for outdir in outdirs]


def _result(data: dict[str, Any]) -> Result:
    scores = {
        name: tuple(Score(**score | {"leave_one_out": tuple(score["leave_one_out"])}) for score in found)
        for name, found in data["scores"].items()
    }
    return Result(**(data | {"scores": scores}))
