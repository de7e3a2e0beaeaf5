"""What all benchmarks share: parity checks, and results with the device they are of, as JSON and Markdown.

    report = Report("name", args)
    report.add("what", {"images/s": 10.0}, Parity(1e-7, 1e-4))
    raise SystemExit(report.finish())

A row whose numbers are wrong says FAILED, and the script ends with status 1: a fast wrong number is none.
"""

import argparse
import datetime
import re
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from device import describe, matmul_peak, release_memory
from timing import Spread, number

from edm2lite.files import write_json, write_text
from edm2lite.memory import out_of_memory


@dataclass(frozen=True)
class Parity:
    """How far a result is from the baseline's, and how far it may be. NaN is too far."""

    error: float
    tolerance: float

    @property
    def ok(self) -> bool:
        return self.error <= self.tolerance

    def __str__(self) -> str:
        return (
            f"{self.error:.1e} <= {self.tolerance:.0e}"
            if self.ok
            else f"FAILED: {self.error:.1e} > {self.tolerance:.0e}"
        )


def relative_error(a: torch.Tensor, b: torch.Tensor) -> float:
    """Root mean square of a - b over that of b; infinite where shapes differ."""
    if a.shape != b.shape:
        return float("inf")
    a, b = a.detach().double().cpu(), b.detach().double().cpu()
    return float((a - b).norm() / b.norm())


class Report:
    """The rows of one run of one benchmark.

    Args:
        name: Of the benchmark.
        args: As parsed by `options.parser`.
        peak: Whether to measure the device's matrix product now.
    """

    def __init__(self, name: str, args: argparse.Namespace, peak: bool = True):
        self.name = re.sub(r"[^\w.-]", "-", f"{name}-{args.tag}" if args.tag else name)
        self.args, self.device = args, torch.device(args.device)
        self.rows: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.failed: list[str] = []
        self.about = describe(self.device)
        self.peak = matmul_peak(self.device) if peak else {}
        self._end = time.monotonic() + args.seconds
        print(f"{self._title()}\n", flush=True)

    @property
    def has_time(self) -> bool:
        return time.monotonic() < self._end

    def speed(self, spent: Spread, images: float, flops: float, dtype: str) -> dict[str, Any]:
        """Columns of a duration in which so many images were done, at so many FLOP an image."""
        rate = images / spent.median
        columns: dict[str, Any] = {"s": spent, "images/s": rate, "GFLOP/s": rate * flops / 1e9}
        if dtype in self.peak:
            columns["of peak"] = rate * flops / self.peak[dtype]["FLOP/s"]
        return columns

    def add(self, what: str, columns: dict[str, Any], parity: Parity | None) -> None:
        """A row, printed now and saved; without a parity it is itself what others are compared with."""
        if parity is not None and not parity.ok:
            self.failed.append(what)
        self._row({"what": what, **columns, "parity": parity or "reference"})

    def skip(self, what: str, why: str) -> None:
        """A row that was not measured, and why."""
        self._row({"what": what, "parity": f"not measured: {why}"})

    def attempt(self, what: str, run: Callable[[], Any], release: bool = True) -> None:
        """Run one measurement, which adds its rows; an error of it ends no other. Afterwards frees what was compiled, too."""
        if not self.has_time:
            return self.skip(what, "no time left")
        try:
            run()
        except Exception as e:
            if isinstance(e, RuntimeError) and out_of_memory(e):
                self.skip(what, "out of memory")  # a finding
            else:
                self._broken(what, e)
        if release:
            release_memory(self.device)
        return None

    def _broken(self, what: str, error: Exception) -> None:
        traceback.print_exception(error)
        self.failed.append(what)
        first = re.sub(r"/\S*/", "", str(error).strip().split("\n")[0])[:150]
        self._row({"what": what, "parity": f"FAILED: {type(error).__name__}: {first}"})

    def note(self, text: str) -> None:
        """A sentence below the table."""
        self.notes.append(text)
        print(text, flush=True)
        self._save()

    def finish(self) -> int:
        """Print the table, save, and give the exit status: 1 if a row failed."""
        print(f"\n{self.markdown()}", flush=True)
        self._save()
        for what in self.failed:
            print(f"FAILED: {what}", file=sys.stderr)
        return int(bool(self.failed))

    def markdown(self) -> str:
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        names = [name for name in names if name != "parity"] + ["parity"]
        lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
        lines += [f"| {' | '.join(_cell(row.get(name)) for name in names)} |" for row in self.rows]
        return "\n\n".join([self._title(), *(["\n".join(lines)] if self.rows else []), *self.notes]) + "\n"

    def as_json(self) -> dict[str, Any]:
        return {
            "benchmark": self.name, "date": _today(), "command": self._command(),
            "device": self.about, "matmul_peak": self.peak,
            "rows": [{name: _plain(value) for name, value in row.items()} for row in self.rows],
            "notes": self.notes, "failed": self.failed,
        }  # fmt: skip

    def _row(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        print("; ".join(f"{name} {_cell(value)}" for name, value in row.items()), flush=True)
        self._save()  # so that a time limit loses nothing

    def path(self, suffix: str) -> Path:
        """Of a result: NAME_DEVICE_DATE and the suffix."""
        device = re.sub(r"[^a-z0-9]+", "-", self.about["name"].lower()) if self.device.type == "cuda" else "cpu"
        return Path(self.args.out) / f"{self.name}_{device}_{_today()}{suffix}"

    def _save(self) -> None:
        if self.args.save:
            write_json(self.path(".json"), self.as_json())
            write_text(self.path(".md"), self.markdown())

    def _title(self) -> str:
        about = ", ".join(f"{value}" if name == "name" else f"{name} {value}" for name, value in self.about.items())
        peaks = ", ".join(f"{name} {p['FLOP/s'] / 1e12:.3g} (side {p['side']:.0f})" for name, p in self.peak.items())
        peaks = f"\n\nMatrix products of random numbers, TFLOP/s, TF32 off: {peaks}." if peaks else ""
        return f"# {self.name}\n\n`{self._command()}`\n\n{about}.{peaks}"

    def _command(self) -> str:
        """As it was called, without where results go: no path of this machine is kept."""
        text = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
        return re.sub(r" --(out|folder|seconds)[ =]\S+| --save", "", text)


def _today() -> str:
    return datetime.date.today().isoformat()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return number(value) if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Spread):
        return {"median": value.median, "values": list(value.values)}
    if isinstance(value, Parity):
        return asdict(value) | {"ok": value.ok}
    return value
