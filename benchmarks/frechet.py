"""Frechet distance beside scipy's sqrtm of the product of the covariances, the formula that others use.

python benchmarks/frechet.py                 # D = 2048, some minutes on a CPU
python benchmarks/frechet.py --dim 256

Prints Markdown tables: seconds (median, and least ... most of the repeats, all taken in turns), ratio to the baseline within
each turn, relative difference of the results. All in float64.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import scipy
import scipy.linalg
import torch

from edm2lite.evaluation.metrics.frechet import FrechetReference, frechet_distance

REPEATS = 5


def covariance(dim: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A random mean and a random covariance with eigenvalues 0.1 ... 10 in a random basis: well conditioned."""
    g = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(dim, dim, generator=g, dtype=torch.float64)).Q
    values = 10 ** (2 * torch.rand(dim, generator=g, dtype=torch.float64) - 1)
    return 0.1 * torch.randn(dim, generator=g, dtype=torch.float64), basis * values @ basis.T


def by_sqrtm(mu_a: torch.Tensor, sigma_a: torch.Tensor, mu_b: torch.Tensor, sigma_b: torch.Tensor) -> float:
    root = scipy.linalg.sqrtm((sigma_a @ sigma_b).numpy())
    return float((mu_a - mu_b).square().sum() + sigma_a.trace() + sigma_b.trace() - 2 * np.trace(root).real)


def table(runs: dict[str, Callable[[], float]], baseline: str) -> None:
    times: dict[str, list[float]] = {name: [] for name in runs}
    results: dict[str, float] = {}
    for turn in range(REPEATS + 1):  # the first warms up; in turns, so that a busy machine is busy for all
        for name, run in runs.items():
            start = time.perf_counter()
            results[name] = run()
            if turn:
                times[name].append(time.perf_counter() - start)
    print(
        "| | s, median (least ... most) | times as fast, median (least ... most) | relative difference |\n|---|---|---|---|"
    )
    for name, spent in times.items():
        ratios = [b / a for a, b in zip(spent, times[baseline], strict=True)]
        cells = [f"{statistics.median(x):.3g} ({min(x):.3g} ... {max(x):.3g})" for x in (spent, ratios)]
        error = abs(results[name] / results[baseline] - 1)
        print(f"| {name} | {' | '.join(cells)} | {error:.1e} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--few", type=int, default=500, help="images of the second table")
    args = parser.parse_args()
    print(
        f"{platform.machine()} CPU, {torch.get_num_threads()} threads, torch {torch.__version__}, scipy {scipy.__version__}, "
        f"D = {args.dim}, load average {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores at the start, {REPEATS} repeats\n"
    )
    a, b = covariance(args.dim, 0), covariance(args.dim, 1)
    reference = FrechetReference(*b)
    _ = reference.root
    runs = {
        "scipy.linalg.sqrtm": lambda: by_sqrtm(*a, *b),
        "frechet_distance": lambda: frechet_distance(*a, *b),
        "the same, reference decomposed before": lambda: reference.distance(*a),
    }
    table(runs, "scipy.linalg.sqrtm")
    features = torch.randn(args.few, args.dim, generator=torch.Generator().manual_seed(2))
    moments = features.double().mean(dim=0), features.double().T.cov()
    print(f"\n{args.few} images, reference decomposed before; baseline without the time for the covariance\n")
    few = {"D x D": lambda: reference.distance(*moments), "N x N": lambda: reference.distance_of(features)}
    table(few, "D x D")


if __name__ == "__main__":
    main()
