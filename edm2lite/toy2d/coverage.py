"""Where points lie: at which components, in which branches."""

import torch
from torch import Tensor

from edm2lite.toy2d.tree import COMPONENTS, GENERATIONS
from edm2lite.toy2d.truth import GroundTruth

_ROWS = 2048  # points at a time


def total_variation(truth: GroundTruth, points: Tensor) -> float:
    """Half the sum over components of |share of the points nearest to its mean - its weight|; points [N, 2].

    "Nearest" is the Euclidean distance. It is no unbiased measure: finitely many true points are off by chance, too.
    """
    nearest = torch.cat([torch.cdist(part, truth.means).argmin(dim=1) for part in points.split(_ROWS)])
    share = nearest.bincount(minlength=len(truth.means)) / len(points)
    return float((share - truth.weights).abs().sum() / 2)


def branch_shares(truth: GroundTruth, points: Tensor, sigma: float) -> Tensor:
    """Share of points [N, 2] in each branch, [b]: a point belongs to each by the probability that it is from there.

    So true points give each branch its weight on average, also where branches overlap; the most probable branch alone would
    rob the weaker one at every fork. A point far from all branches counts where it most probably came from.
    """
    parts = [truth.responsibilities(part, sigma).sum(dim=0) for part in points.split(_ROWS)]
    return torch.stack(parts).sum(dim=0).reshape(-1, COMPONENTS).sum(dim=1) / len(points)


def coverage(truth: GroundTruth, shares: Tensor, dropped_below: float = 0.1) -> dict[str, float]:
    """What the shares of the branches [b] fill of their true weights.

    Returns:
        coverage: sum of min(share, true weight) over all branches, 1 less their total variation; coverage_D: the same over the
        branches of generation D alone, as a part of their true weight; dropped: the share of branches that have less than
        `dropped_below` of their true weight.
    """
    weights = truth.weights.reshape(-1, COMPONENTS).sum(dim=1)
    depth = torch.tensor([branch.depth for branch in truth.branches])
    filled = torch.minimum(shares, weights)
    by_depth = {f"coverage_{d}": _ratio(filled[depth == d], weights[depth == d]) for d in range(GENERATIONS)}
    missing = (shares < dropped_below * weights).double().mean()
    return {"coverage": float(filled.sum()), **by_depth, "dropped": float(missing)}


def _ratio(part: Tensor, whole: Tensor) -> float:
    return float(part.sum() / whole.sum())
