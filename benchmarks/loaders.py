"""Readers of datasets: images a second of one process, and what opening and reading cost in memory.

python benchmarks/loaders.py                 # a minute or two, 2 GB in the temporary folder

Every number comes from a process of its own. Speed: random order, median of the repeats, everything in the page cache; the
baseline in each line is the plain loop over zipfile, with Pillow or numpy, that others write. Memory: of
/proc/self/status, VmRSS in all and RssAnon without what is mapped from files, which all processes share.
"""

import argparse
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image

from edm2lite.data.datasets import open_stored
from edm2lite.data.packed import HEADER, npy_header, write_array, write_description
from edm2lite.data.prepare.pictures import as_member
from edm2lite.data.prepare.zipwriter import ZipWriter

REPEATS = 7
PIXELS, LATENTS, FEW, MANY = 4096, 1024, 10_000, 1_000_000


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
    end = memory()
    grown = {f"open {key}": after_open[key] - before[key] for key in before} | {
        f"read {key}": end[key] - before[key] for key in before
    }
    return {"rate": statistics.median(rates), "open": opened, **grown}


def fresh(reader: str, path: Path, count: int) -> dict[str, float]:
    """`measure` in a process of its own."""
    command = [sys.executable, __file__, "--measure", reader, str(path), str(count)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@contextmanager
def zip_writer(path: Path) -> Iterator[ZipWriter]:
    with open(path, "wb+") as archive, tempfile.TemporaryFile() as directory:
        writer = ZipWriter(archive, directory, 0)
        yield writer
        writer.add_file("dataset.json", io.BytesIO(b'{"labels": null}'))
        writer.close()


def write(folder: Path, name: str, images: np.ndarray) -> tuple[Path, Path]:
    """The same images packed and zipped."""
    packed, encoder = folder / name, {"name": "vae"} if images.dtype != np.uint8 else {"name": "rgb", "scale": 127.5}
    packed.mkdir()
    write_array(packed / "images-00000.npy", images)
    write_description(
        packed, {"images-00000.npy": len(images)}, images.shape[1:], str(images.dtype), 0, encoder, None, {}
    )
    with zip_writer(folder / f"{name}.zip") as f:
        for i, image in enumerate(images):
            f.add(f"{i // 1000:05d}/img{i:08d}.{'png' if images.dtype == np.uint8 else 'npy'}", as_member(image))
    return packed, folder / f"{name}.zip"


def photographs(count: int) -> np.ndarray:
    """uint8 [count, 3, 64, 64]: about as hard to compress as photographs."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    smooth = [np.asarray(Image.fromarray(c).resize((64, 64), Image.Resampling.BICUBIC)) for c in coarse]
    noisy = np.stack(smooth) + rng.normal(0, 5, (count, 64, 64, 3))
    return np.ascontiguousarray(noisy.clip(0, 255).astype(np.uint8).transpose(0, 3, 1, 2))


def many(folder: Path, count: int) -> tuple[Path, Path]:
    """Datasets of many images of one pixel; the packed one is a hole of 64-pixel images, which takes no room."""
    packed, per_file, shape, counts = folder / f"many{count}", 4096, (3, 64, 64), {}
    packed.mkdir()
    for start in range(0, count, per_file):
        name, n = f"images-{start // per_file:05d}.npy", min(per_file, count - start)
        with open(packed / name, "wb") as f:
            f.write(npy_header((n, *shape), np.dtype(np.uint8)))
            f.truncate(HEADER + n * 3 * 64 * 64)
        counts[name] = n
    write_description(packed, counts, shape, "uint8", 0, {"name": "rgb", "scale": 127.5}, None, {})
    dot = as_member(np.zeros((3, 1, 1), np.uint8))
    with zip_writer(folder / f"many{count}.zip") as f:
        for i in range(count):
            f.add(f"{i // 1000:05d}/img{i:08d}.png", dot)
    return packed, folder / f"many{count}.zip"


def header(*names: str) -> None:
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}")


def speed(folder: Path) -> None:
    header("data", "reader", "images/s", "MB/s", "baseline images/s", "ratio", "RSS grown, MB", "anonymous, MB")
    rng = np.random.default_rng(0)
    latents = rng.standard_normal((LATENTS, 8, 64, 64), np.float32)
    for name, images in (
        ("64x64 RGB", photographs(PIXELS)),
        ("latents fp32", latents),
        ("latents fp16", latents.astype(np.float16)),
    ):
        packed, archive = write(folder, name.replace(" ", "-"), images)
        member = "PNG" if images.dtype == np.uint8 else "NPY"
        rows = [(f"ZIP of {member}", "ours", archive), ("packed", "ours", packed)]
        plain = fresh("plain", archive, len(images))
        for label, reader, path in rows:
            m = fresh(reader, path, len(images))
            mb = m["rate"] * images[0].nbytes / 1e6
            print(
                f"| {name} | {label} | {m['rate']:.0f} | {mb:.0f} | {plain['rate']:.0f} | {m['rate'] / plain['rate']:.1f} "
                f"| {m['read VmRSS']:.1f} | {m['read RssAnon']:.1f} |"
            )


def size(folder: Path) -> None:
    print()
    header("reader", "images", "open, s", "RSS of opening, MB", "peak, MB", "anonymous, MB", "RSS after reading, MB")
    for count in (FEW, MANY):
        packed, archive = many(folder, count)
        for label, reader, path in (
            ("packed", "ours", packed),
            ("ZIP, first time", "ours", archive),
            ("ZIP, later", "ours", archive),
            ("zipfile", "plain", archive),
        ):
            m = fresh(reader, path, FEW)
            grown = " | ".join(f"{m[key]:.1f}" for key in ("open VmRSS", "open VmHWM", "open RssAnon", "read VmRSS"))
            print(f"| {label} | {count} | {m['open']:.3f} | {grown} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--measure", nargs=3, metavar=("READER", "PATH", "COUNT"), help="one line of the table, as JSON"
    )
    args = parser.parse_args()
    if args.measure:
        return print(json.dumps(measure(args.measure[0], args.measure[1], int(args.measure[2]))))
    print(
        f"{platform.machine()} CPU, one process, Python {platform.python_version()}, numpy {np.__version__}, "
        f"Pillow {PIL.__version__}, "
        f"load average {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores at the start; median of {REPEATS} repeats\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EDM2LITE_CACHE"] = f"{folder}/cache"
        speed(Path(folder))
        size(Path(folder))


if __name__ == "__main__":
    main()
