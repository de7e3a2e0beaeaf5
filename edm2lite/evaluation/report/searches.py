"""What a sweep's folder holds besides its table: outcome, plots of the screening, and everything that was tried."""

import csv
import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from edm2lite.config import Nimg
from edm2lite.config.sweeps import SweepConfig
from edm2lite.evaluation.report.grids import boxed
from edm2lite.evaluation.report.markup import element, figure, image, scrolling, text
from edm2lite.evaluation.tables.layout import Field, Grid
from edm2lite.evaluation.tables.results import Table

MOST_TRIALS = 500  # lines of the table of trials; a longer list is in the CSV alone
_PLOTS = {
    "heatmap-ema": "Main EMA by guide EMA, in the screening; each cell at the best of all other settings, the winner outlined.",
    "heatmap-nimg": "Guidance weight by training length of the guide, in the screening, likewise.",
    "weights": "Over the weight, for the best pairs of models, in the screening; bars: jackknife errors, large for few images.",
    "history": "The best so far, over the points screened.",
}
_NUMBERS = ("images", "blocks", "main_ema", "guide_ema", "guide_nimg", "weight", "score", "se")


def is_sweep(outdir: str) -> bool:
    """Whether a folder is that of a sweep."""
    return (Path(outdir) / "sweep.csv").is_file()


def outcome(outdir: str) -> str:
    """The lines of sweep.md."""
    path = Path(outdir) / "sweep.md"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    found = [line.removeprefix("- ") for line in lines if line.startswith("- ")]
    return element("ul", "".join(element("li", text(line.replace("+-", "\u00b1"))) for line in found)) if found else ""


def plots(outdir: str) -> str:
    """The plots of a sweep, as they lie there, on white."""
    there = [(Path(outdir) / f"{name}.svg", caption) for name, caption in _PLOTS.items()]
    return "".join(_plot(path, caption) for path, caption in there if path.is_file())


def _plot(path: Path, caption: str) -> str:
    svg = path.read_text(encoding="utf-8")
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    width, height = (round(float(side) * 4 / 3) for side in size.groups()) if size else (640, 400)
    drawn = image(svg.encode(), "svg+xml", caption, width, height, "card")
    return figure(scrolling(drawn, caption), caption, class_="map")


def trials(outdir: str) -> str:
    """Everything that was tried, folded away."""
    with open(Path(outdir) / "sweep.csv", newline="", encoding="utf-8") as f:
        found = list(csv.DictReader(f))
    if not found:
        return ""
    words = [name for name in ("row", "metric", "state") if name in found[0]]
    numbers = [name for name in _NUMBERS if any(trial.get(name) for trial in found)]
    grid = Grid(
        "Everything that was tried", [name.replace("_", " ") for name in (*words, *numbers)], text_columns=len(words)
    )
    for trial in found[:MOST_TRIALS]:
        grid.rows.append([*(Field(trial[name]) for name in words), *(_number(trial[name]) for name in numbers)])
    more = f", the first {MOST_TRIALS} of {len(found)}; the others are in sweep.csv" if len(found) > MOST_TRIALS else ""
    name = f"Everything that was tried ({len(grid.rows)} scores{more})"
    return element("details", element("summary", text(name)) + boxed(grid))


def _number(written: str) -> Field:
    if not written:
        return Field("-")
    value = float(Nimg(written)) if written[-1] == "i" else float(written)
    return Field(written if written[-1] == "i" else f"{value:.6g}", value)


def sweep_config(outdir: str, table: Table) -> dict[str, Any]:
    """The sweep's configuration as plain data: what sweep.json keeps, and from the table what it leaves out."""
    kept = json.loads((Path(outdir) / "sweep.json").read_text(encoding="utf-8"))
    known = {f.name for f in fields(SweepConfig)}
    settings = {name: value for name, value in {**table.config, **kept}.items() if name in known}
    settings |= {name: table.config["rows"][-1][name] for name in ("published", "weights")}
    if settings["search"] in ("random", "tpe"):
        settings["trials"] = _screened(outdir, settings["rungs"][0])
    return settings


def _screened(outdir: str, images: int) -> int:
    """Points of the sweep in its first stage."""
    with open(Path(outdir) / "sweep.csv", newline="", encoding="utf-8") as f:
        found = [r for r in csv.DictReader(f) if r["row"] == "sweep" and int(r["images"]) == images]
    return sum(r["state"] == "complete" for r in found)
