"""Scored settings, what they say, and the files that hold them. Imports no torch."""

import csv
import io
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edm2lite.config.evaluation import VARIED
from edm2lite.errors import UserError
from edm2lite.files import write_json, write_text


@dataclass(frozen=True, kw_only=True)
class Result:
    """Frechet distances of one setting, one per block of seeds; `weight` is the value of what `vary` names."""

    row: str
    main_ema: float | None
    guide_ema: float | None
    weight: float
    values: tuple[float, ...]
    vary: str = "weight"

    @property
    def guided(self) -> bool:
        return self.weight != VARIED[self.vary]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float:
        """Standard deviation over the blocks."""
        return statistics.stdev(self.values)

    @property
    def setting(self) -> str:
        guide = f", guide EMA {ema_text(self.guide_ema)}" if self.guide_ema is not None else ""
        strength = f", {self.strength}" if self.guided else ""
        return f"{self.row}, EMA {ema_text(self.main_ema)}{guide}{strength}"

    @property
    def strength(self) -> str:
        """The weight for people: "w = 2", or "classifier 0.5"."""
        return f"w = {self.weight:g}" if self.vary == "weight" else f"{self.vary} {self.weight:g}"


def ema_text(sigma_rel: float | None) -> str:
    """An EMA length for people; "-" for none or unknown."""
    return "-" if sigma_rel is None else f"{sigma_rel:g}"


@dataclass(frozen=True)
class Table:
    """All results of a table.

    Attributes:
        results: In the order of the configuration.
        confirmed: Best unguided (False) and best guided (True) setting again, on fresh seeds.
        config: The table's configuration, as plain data.
        detector: Feature extractor.
        reference_images: Images behind the reference statistics.
    """

    results: list[Result]
    confirmed: dict[bool, Result]
    config: dict[str, Any]
    detector: str
    reference_images: int

    def best(self, guided: bool) -> Result | None:
        """The lowest mean among the guided or the unguided results."""
        return min((r for r in self.results if r.guided == guided), key=lambda r: r.mean, default=None)

    def best_of_rows(self) -> list[Result]:
        """Each row at its lowest mean, the best row first."""
        rows = dict.fromkeys(r.row for r in self.results)
        best = [min((r for r in self.results if r.row == row), key=lambda r: r.mean) for row in rows]
        return sorted(best, key=lambda r: r.mean)

    def verdict(self) -> list[str]:
        """Whether guidance beats the best unguided result, on the seeds of the search and on fresh ones."""
        lines, unguided, guided = [], self.best(False), self.best(True)
        if unguided and guided:
            lines.append(f"best alone:  {unguided.setting}")
            lines.append(f"best guided: {guided.setting}")
            lines.append(compare("in the table", unguided, guided))
        if self.confirmed:
            lines.append(compare("fresh seeds", self.confirmed[False], self.confirmed[True]))
        return lines


def compare(where: str, unguided: Result, guided: Result) -> str:
    """One line: both means, their difference, the larger of the two spreads, and what follows.

    As both are scored on the same seeds, the spread of their differences block by block is given, too.
    """
    gain, spread = unguided.mean - guided.mean, max(unguided.spread, guided.spread)
    paired = statistics.stdev(a - b for a, b in zip(unguided.values, guided.values, strict=True))
    word = (
        "guidance wins" if gain > spread else "guidance loses" if gain < -spread else "no difference beyond the spread"
    )
    return (
        f"{where}: {unguided.mean:.3f} -> {guided.mean:.3f}, gain {gain:.3f} (sd of paired differences {paired:.3f}), "
        f"spread {spread:.3f}: {word}"
    )


HEADER = ("guide", "EMA main", "EMA guide", "w", "mean", "sd", "blocks")


def text_rows(table: Table) -> list[tuple[str, ...]]:
    """The table's cells as text, one row a result; the best alone and the best guided carry a star."""
    stars = (table.best(False), table.best(True))
    return [
        (
            r.row, ema_text(r.main_ema), ema_text(r.guide_ema), f"{r.weight:g}",
            f"{r.mean:.3f}" + "*" * (r in stars), f"{r.spread:.3f}", " ".join(f"{v:.3f}" for v in r.values),
        )
        for r in table.results
    ]  # fmt: skip


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Markdown table of a header and rows, columns aligned so that it reads well in a terminal too."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def best_rows(table: Table) -> list[tuple[str, ...]]:
    """Each row of the table at its best setting, beside the best main alone on the same seeds."""
    alone = table.best(False)
    lines: list[tuple[str, ...]] = [("row", "best setting", "mean", "sd", "gain over best alone", "sd of gain")]
    for r in table.best_of_rows():
        gains = [a - b for a, b in zip(alone.values, r.values, strict=True)] if alone else [math.nan] * len(r.values)
        setting = r.setting.removeprefix(f"{r.row}, ")
        spread = statistics.stdev(gains)
        lines.append(
            (r.row, setting, f"{r.mean:.3f}", f"{r.spread:.3f}", f"{statistics.fmean(gains):+.3f}", f"{spread:.3f}")
        )
    return lines


def markdown(table: Table) -> str:
    """The table as Markdown: all results, then each row at its best, then the verdict."""
    lines = _aligned([HEADER, *text_rows(table)])
    c = table.config
    caption = (
        f"{c['title']}: Frechet distance in {table.detector} to {table.reference_images} images; "
        f"{c['num_images']} images a block, {c['blocks']} blocks of seeds; * best alone, best guided"
    )
    best = ["Each row at its best:", "", *_aligned(best_rows(table)), ""]
    return "\n".join([caption, "", *lines, "", *best, *(f"- {line}" for line in table.verdict())]) + "\n"


def write_table(outdir: Path, table: Table) -> None:
    """Write table.json, table.md and table.csv; print the table."""
    write_json(
        outdir / "table.json",
        asdict(table)
        | {"confirmed": {str(k): asdict(v) for k, v in table.confirmed.items()}, "verdict": table.verdict()},
    )
    text = io.StringIO()
    csv.writer(text).writerows([HEADER, *text_rows(table)])
    write_text(outdir / "table.csv", text.getvalue())
    write_text(outdir / "table.md", markdown(table))
    print("\n" + markdown(table))


def read_table(outdir: str | Path) -> Table:
    """Read what `write_table` wrote.

    Raises:
        UserError: If there is no finished table.
    """
    path = Path(outdir) / "table.json"
    if not path.is_file():
        raise UserError(f"{outdir} holds no finished table; compute it with: evaluate.py table -c TABLE.yaml")
    data = json.loads(path.read_text())
    confirmed = {key == "True": _result(value) for key, value in data["confirmed"].items()}
    results = [_result(value) for value in data["results"]]
    return Table(results, confirmed, data["config"], data["detector"], data["reference_images"])


def read_tables(outdirs: Sequence[str]) -> list[Table]:
    """Read several tables.

    Raises:
        UserError: If none is named, or one is not finished.
    """
    if not outdirs:
        raise UserError("no tables were named; name the output directories of tables: --tables '[runs/demo/digits]'")
    return [read_table(outdir) for outdir in outdirs]


def _result(data: dict[str, Any]) -> Result:
    return Result(**(data | {"values": tuple(data["values"])}))
