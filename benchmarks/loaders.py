"""Readers of datasets: images a second of one process, and what opening and reading cost in memory.

python benchmarks/loaders.py                 # a minute or two, 2 GB in the temporary folder

Every number comes from a process of its own. Speed: random order, median of the repeats, everything in the page cache; the
baseline in each line is the plain loop over zipfile, with Pillow or numpy, that others write. Memory: of
/proc/self/status, VmRSS in all and RssAnon without what is mapped from files, which all processes share.
"""

import io
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL
from made import many, photographs, write
from PIL import Image

from edm2lite.data.datasets import open_stored

if TYPE_CHECKING:
    from harness import Parity, Report

REPEATS, FEW = 7, 10_000


def memory() -> dict[str, float]:
    """VmRSS, RssAnon and the highest VmRSS so far, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    status = {key: value for key, _, value in (line.partition(":") for line in lines)}
    return {key: int(status[key].split()[0]) / 1000 for key in ("VmRSS", "RssAnon", "VmHWM")}


class Plain:
    """The loop that others write: zipfile, with Pillow for PNG and numpy for NPY."""

    def __init__(self, path: str):
        self.zip = zipfile.ZipFile(path)
        self.names = sorted(name for name in self.zip.namelist() if name.endswith((".png", ".npy")))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> np.ndarray:
        with self.zip.open(self.names[index]) as f:
            if self.names[index].endswith(".npy"):
                return np.load(io.BytesIO(f.read()))
            with Image.open(f) as picture:
                return np.ascontiguousarray(np.array(picture).transpose(2, 0, 1))


READERS: dict[str, Callable[[str], Any]] = {"ours": open_stored, "plain": Plain}


def measure(reader: str, path: str, count: int) -> dict[str, float]:
    """In a fresh process: open, read `count` images in random order several times."""
    before = memory()
    start = time.perf_counter()
    data = READERS[reader](path)
    opened, after_open = time.perf_counter() - start, memory()
    rates, order = [], np.random.default_rng(0)
    for _ in range(REPEATS):
        picks = order.integers(len(data), size=count).tolist()
        start = time.perf_counter()
        for i in picks:
            data[i]
        rates.append(len(picks) / (time.perf_counter() - start))
    end, crc32 = memory(), 0
    for i in np.random.default_rng(0).integers(len(data), size=count).tolist():
        image = data[i][0] if reader == "ours" else data[i]
        crc32 = zlib.crc32(np.ascontiguousarray(image).data, crc32)
    grown = {f"open {key}": after_open[key] - before[key] for key in before} | {
        f"read {key}": end[key] - before[key] for key in before
    }
    return {"rate": statistics.median(rates), "open": opened, "crc32": crc32, **grown}


def fresh(reader: str, path: Path, count: int) -> dict[str, float]:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--measure", reader, str(path), str(count)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def parity(ours: dict[str, float], plain: dict[str, float]) -> "Parity":
    """Whether both read the same bytes in the same order."""
    from harness import Parity

    return Parity(0.0 if ours["crc32"] == plain["crc32"] else math.inf, 0.0)


def speed(report: "Report", folder: Path, pixels: int, latents: int) -> None:
    moments = np.random.default_rng(0).standard_normal((latents, 8, 64, 64), np.float32)
    for name, images in (
        ("64x64 RGB", photographs(pixels)),
        ("latents fp32", moments),
        ("latents fp16", moments.astype(np.float16)),
    ):
        packed, archive = write(folder, name.replace(" ", "-"), images)
        member = "PNG" if images.dtype == np.uint8 else "NPY"
        rows = [
            (f"zipfile of {member}", "plain", archive),
            (f"ZIP of {member}", "ours", archive),
            ("packed", "ours", packed),
        ]
        found = [(label, fresh(reader, path, len(images))) for label, reader, path in rows]
        plain = found[0][1]
        for label, m in found:
            columns = {
                "images": len(images), "images/s": m["rate"], "MB/s": m["rate"] * images[0].nbytes / 1e6,
                "times the baseline": m["rate"] / plain["rate"],
                "RSS grown, MB": m["read VmRSS"], "anonymous, MB": m["read RssAnon"],
            }  # fmt: skip
            report.add(f"{name}, {label}", columns, None if m is plain else parity(m, plain))


def size(report: "Report", folder: Path, counts: Sequence[int]) -> None:
    for count in counts:
        packed, archive = many(folder, count)
        rows = [
            ("packed", "ours", packed), ("ZIP, first time", "ours", archive), ("ZIP, later", "ours", archive),
            ("zipfile", "plain", archive),
        ]  # fmt: skip
        found = [(label, fresh(reader, path, min(FEW, count))) for label, reader, path in rows]
        plain = found[-1][1]
        for label, m in found:
            columns = {
                "images": count, "open, s": m["open"], "RSS of opening, MB": m["open VmRSS"], "peak, MB": m["open VmHWM"],
                "anonymous, MB": m["open RssAnon"], "RSS grown, MB": m["read VmRSS"],
            }  # fmt: skip
            # the packed one holds other images (a hole), so it is compared with nothing but its own zeros
            expected = plain if label.startswith("ZIP") else {"crc32": zlib.crc32(bytes(min(FEW, count) * 3 * 64 * 64))}
            report.add(f"{label}, of {count}", columns, None if m is plain else parity(m, expected))


def main() -> int:
    if sys.argv[1:2] == ["--measure"]:  # in a process of its own, which imports no torch
        _, _, reader, path, count = sys.argv
        print(json.dumps(measure(reader, path, int(count))))
        return 0
    from harness import Report
    from options import parser

    p = parser(__doc__, device="cpu")
    p.add_argument("--pixels", type=int, default=4096, help="images of 64x64 RGB")
    p.add_argument("--latents", type=int, default=1024)
    p.add_argument("--many", type=int, default=1_000_000, help="images of the largest dataset that is opened")
    args = p.parse_args()
    report = Report("loaders", args, peak=False)
    report.note(
        f"One process, numpy {np.__version__}, Pillow {PIL.__version__}; median of {REPEATS} passes in random order."
    )
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EDM2LITE_CACHE"] = f"{folder}/cache"
        report.attempt("speed", lambda: speed(report, Path(folder), args.pixels, args.latents))
        report.attempt("size", lambda: size(report, Path(folder), sorted({min(FEW, args.many), args.many})))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
