"""How cost grows: images a second over the batch, the ranks, and the number of images in a dataset.

python benchmarks/scaling.py                                     # two minutes on a CPU
python benchmarks/scaling.py --size S --batch 1,4,16,64 --save   # for a GPU; --save draws the three panels, too

Batch: evaluations of `optimize(compile=False)`. Ranks: `train.py` on digits, 1 and 2 processes (gloo on a CPU), each in one
thread; images a second as its log has them. Data: packed folders of 8x8 images; the time to open one, to read an image in
random order, and to measure images (features of the digits' classifier, and their Frechet distance). Parity: the first image of
a batch against itself alone; the losses of 2 ranks against those of 1; the images read against those written; features of the
first images against those of the smallest dataset.
"""

import argparse
import csv
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

import numpy as np
import torch
from harness import Parity, Report, relative_error
from models import SIZES, forward_flops, make, shape
from options import integers, parser
from timing import Spread, in_turns

from edm2lite.data.datasets import open_stored
from edm2lite.data.packed import write_array, write_description
from edm2lite.evaluation.detectors.load import load_detector
from edm2lite.evaluation.extract import extract
from edm2lite.evaluation.metrics.frechet import FrechetReference
from edm2lite.evaluation.shards import FeatureStore
from edm2lite.evaluation.sources import DatasetSource
from edm2lite.evaluation.tables.figures import panels

ROOT = Path(__file__).parents[1]
READS, PER_FILE = 10_000, 100_000
Points = defaultdict[str, list[tuple[float, float]]]


@torch.no_grad()
def batches(report: Report, args: argparse.Namespace, points: Points) -> None:
    """Evaluations of a denoiser."""
    net = make(args.size, args.data, report.device).optimize(compile=False)
    classes, largest = shape(args.size, args.data).label_dim, max(args.batch)
    x = torch.randn(largest, net.img_channels, net.img_resolution, net.img_resolution, device=report.device)
    labels = torch.zeros(largest, dtype=torch.int64, device=report.device) if classes else None
    run = lambda n: net(x[:n], 0.5, None if labels is None else labels[:n])  # noqa: E731
    alone = run(1)
    runs = {str(n): (lambda n=n: run(n)) for n in args.batch}
    for name, spent in in_turns(runs, report.device, args.repeats).items():
        columns = {"n": int(name), **report.speed(spent, int(name), forward_flops(args.size, args.data), "fp32")}
        report.add(f"batch {name}", columns, Parity(relative_error(run(int(name))[:1], alone), 1e-5))
        points["evaluations"].append((int(name), int(name) / spent.median))


def ranks(report: Report, args: argparse.Namespace, points: Points) -> None:
    """Trainings on digits by so many processes."""
    cuda = report.device.type == "cuda"
    losses: list[list[float]] = []
    for count in [n for n in args.ranks if n <= (torch.cuda.device_count() if cuda else math.inf)]:
        with tempfile.TemporaryDirectory() as folder:
            total = 128 * args.steps
            options = {
                "run_dir": f"{folder}/run", "trainer.devices": count, "trainer.accelerator": "gpu" if cuda else "cpu",
                "training.total_nimg": total, "training.snapshot_nimg": total, "training.checkpoint_nimg": total,
                "logging.every_nimg": total // 8, "logging.progress_bar": "false", "trainer.strategy": "ddp",
            }  # fmt: skip
            command = [sys.executable, ROOT / "train.py", "-c", ROOT / "configs/digits/main.yaml"]
            command += [f"--{key}={value}" for key, value in options.items()]
            subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
            rows = list(csv.DictReader(Path(folder, "run/metrics.csv").read_text().splitlines()))
        speeds = [float(row["img_per_s"]) for row in rows[1:]]  # without the start
        losses.append([float(row["loss"]) for row in rows])
        apart = relative_error(torch.tensor(losses[-1]), torch.tensor(losses[0]))
        columns = {"n": count, "images/s": median(speeds), "s": Spread(tuple(total / 8 / s for s in speeds))}
        report.add(f"ranks {count}", columns, Parity(apart, 1e-3) if len(losses) > 1 else None)
        points["training"].append((count, median(speeds)))


def write(folder: Path, count: int) -> None:
    """A packed folder of 8x8 images; image i is all i % 251."""
    folder.mkdir()
    files = {}
    for start in range(0, count, PER_FILE):
        values = (np.arange(start, min(start + PER_FILE, count)) % 251).astype(np.uint8)
        name = f"images-{start // PER_FILE:05d}.npy"
        write_array(
            folder / name, np.ascontiguousarray(np.broadcast_to(values[:, None, None, None], (len(values), 1, 8, 8)))
        )
        files[name] = len(values)
    write_description(folder, files, (1, 8, 8), "uint8", 0, {"name": "rgb", "scale": 127.5}, None, {})


def datasets(report: Report, args: argparse.Namespace, points: Points) -> None:
    """Opening and reading, over the number of images."""
    for count in args.images:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder) / "data", count)
            opened, read = [], []
            for _ in range(args.repeats):
                start = time.perf_counter()
                data = open_stored(f"{folder}/data")
                opened.append(time.perf_counter() - start)
                order = np.random.default_rng(0).integers(count, size=READS).tolist()
                start = time.perf_counter()
                values = [data[i][0] for i in order]
                read.append(time.perf_counter() - start)
            wrong = sum(int((value != i % 251).any()) for i, value in zip(order, values, strict=True))
        columns = {
            "n": count,
            "open, s": Spread(tuple(opened)),
            "s": Spread(tuple(read)),
            "images/s": READS / median(read),
        }
        report.add(f"dataset of {count}", columns, Parity(wrong, 0))
        points["reading"].append((count, READS / median(read)))
        points["opening"].append((count, 1 / median(opened)))


def metrics(report: Report, args: argparse.Namespace, points: Points) -> None:
    """Features and Frechet distance of so many images."""
    detector, first = load_detector("digits", device=report.device), None
    for count in args.measured:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder) / "data", count)
            source = DatasetSource(open_stored(f"{folder}/data"), 250)
            store = FeatureStore(Path(folder) / "features", source.identity)
            start = time.perf_counter()
            extract(source, [detector], store, source.keys)
            x = store.read(detector, source.keys).x
            FrechetReference(x.double().mean(0), x.double().T.cov() + torch.eye(x.shape[1]).double()).distance_of(x)
            spent = time.perf_counter() - start
        first = x[: min(args.measured)] if first is None else first
        parity = Parity(relative_error(x[: len(first)], first), 1e-5)
        report.add(f"measuring {count}", {"n": count, "s": Spread((spent,)), "images/s": count / spent}, parity)
        points["measuring"].append((count, count / spent))


def draw(path: Path, points: Points) -> None:
    """Three panels."""
    figure, (batch, rank, data) = panels(1, 3, (5, 3.4))
    batch.set(xlabel="images in a batch", ylabel="images a second", xscale="log", yscale="log")
    rank.set(xlabel="ranks", ylabel="images a second")
    data.set(xlabel="images in the dataset", ylabel="how many a second", xscale="log", yscale="log")
    labels = {"opening": "datasets opened", "reading": "images read", "measuring": "images measured"}
    for axes, names in ((batch, ["evaluations"]), (rank, ["training"]), (data, list(labels))):
        for name in filter(points.get, names):
            axes.plot(*zip(*points[name], strict=True), marker="o", ms=4, label=labels.get(name, name))
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(names))
    if points["training"]:
        rank.set(ylim=(0, 1.3 * max(y for _, y in points["training"])), xticks=[n for n, _ in points["training"]])
    figure.savefig(path, dpi=120, bbox_inches="tight")


def main() -> int:
    p = parser(__doc__)
    p.add_argument("--size", choices=SIZES, default="digits")
    p.add_argument("--data", type=int, choices=(64, 512), default=512)
    p.add_argument("--batch", type=integers, default=[1, 2, 4, 8, 16, 32, 64, 128, 256])
    p.add_argument("--ranks", type=integers, default=[1, 2])
    p.add_argument("--steps", type=int, default=160, help="of a training, 128 images each")
    p.add_argument("--images", type=integers, default=[1000, 10_000, 100_000, 1_000_000])
    p.add_argument("--measured", type=integers, default=[1000, 10_000, 50_000])
    args = p.parse_args()
    report, points = Report(f"scaling-{args.size}", args), Points(list)
    for part in (batches, ranks, datasets, metrics):
        report.attempt(part.__name__, lambda part=part: part(report, args, points))
    if args.save:
        draw(report.path(".png"), points)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
