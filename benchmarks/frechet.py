"""Frechet distance beside scipy's sqrtm of the product of the covariances, the formula that others use.

python benchmarks/frechet.py                 # D = 2048, some minutes on a CPU
python benchmarks/frechet.py --dim 256

Seconds and the ratio to the baseline are taken in turns. Parity: relative difference of the distances. All in float64.
"""

import sys
from collections.abc import Callable

import numpy as np
import scipy
import scipy.linalg
import torch
from harness import Parity, Report
from options import parser
from timing import in_turns, ratio

from edm2lite.evaluation.metrics.frechet import FrechetReference, frechet_distance


def covariance(dim: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A random mean and a random covariance with eigenvalues 0.1 ... 10 in a random basis: well conditioned."""
    g = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(dim, dim, generator=g, dtype=torch.float64)).Q
    values = 10 ** (2 * torch.rand(dim, generator=g, dtype=torch.float64) - 1)
    return 0.1 * torch.randn(dim, generator=g, dtype=torch.float64), basis * values @ basis.T


def by_sqrtm(mu_a: torch.Tensor, sigma_a: torch.Tensor, mu_b: torch.Tensor, sigma_b: torch.Tensor) -> float:
    root = scipy.linalg.sqrtm((sigma_a @ sigma_b).numpy())
    return float((mu_a - mu_b).square().sum() + sigma_a.trace() + sigma_b.trace() - 2 * np.trace(root).real)


def table(report: Report, runs: dict[str, Callable[[], float]], plain: str, tolerance: float) -> None:
    """A row for each, timed in turns."""
    spent = in_turns(runs, torch.device("cpu"), report.args.repeats)
    results = {name: run() for name, run in runs.items()}
    for name in runs:
        error = abs(results[name] / results[plain] - 1)
        columns = {"s": spent[name], "times the baseline": ratio(spent[name], spent[plain])}
        report.add(name, columns, None if name == plain else Parity(error, tolerance))


def main() -> int:
    p = parser(__doc__, device="cpu")
    p.add_argument("--dim", type=int, default=2048)
    p.add_argument("--few", type=int, default=500, help="images of the second table")
    args = p.parse_args()
    report = Report(f"frechet-{args.dim}", args, peak=False)
    a, b = covariance(args.dim, 0), covariance(args.dim, 1)
    reference = FrechetReference(*b)
    _ = reference.root
    runs = {
        "scipy.linalg.sqrtm": lambda: by_sqrtm(*a, *b),
        "frechet_distance": lambda: frechet_distance(*a, *b),
        "the same, reference decomposed before": lambda: reference.distance(*a),
    }
    table(report, runs, "scipy.linalg.sqrtm", 1e-10)
    features = torch.randn(args.few, args.dim, generator=torch.Generator().manual_seed(2))
    moments = features.double().mean(dim=0), features.double().T.cov()
    few = {
        f"{args.few} images, D x D": lambda: reference.distance(*moments),
        f"{args.few} images, N x N": lambda: reference.distance_of(features),
    }
    # of a covariance of rank N - 1 the roots of rounding errors add up in the D x D formula
    table(report, few, f"{args.few} images, D x D", 1e-6)
    report.note("D x D is timed with the reference decomposed before, and without the time for the covariance.")
    report.note(f"scipy {scipy.__version__}, float64.")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
