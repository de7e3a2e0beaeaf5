"""Distances to nearest neighbours, block by block: no matrix of all pairs is ever held."""

from collections.abc import Iterator
from functools import cached_property

import torch
from torch import Tensor

from edm2lite.errors import UserError
from edm2lite.evaluation.metrics.checks import as_float64, check_features
from edm2lite.progress import progress_bar

ROWS, COLUMNS = 2048, 4096  # of a block; about 300 MB with 2048 features in float64


class Manifold:
    """A set of features with its balls: around each, up to its k-th nearest neighbour; the distances are computed once.

    Args:
        features: [N, D].
        most: The largest k that is asked for.

    Raises:
        UserError: If features are not finite or no more than `most`.
    """

    def __init__(self, features: Tensor, most: int):
        check_features(features, least=most + 1)
        self.features, self.most = features, most
        self.centre = as_float64(features[:ROWS]).mean(dim=0)  # roughly: distances of centred features are rounded less

    @cached_property
    def _nearest(self) -> Tensor:
        return nearest(self.features, self.centre, self.most, torch.zeros(len(self.features), dtype=torch.int64))[:, 0]

    def radii(self, k: int) -> Tensor:
        """Distance of each to its k-th nearest neighbour, float32 [N]."""
        if not 1 <= k <= self.most:
            raise UserError(f"k is {k}; it must be 1 ... {self.most}")
        return self._nearest[:, k - 1]


def nearest(features: Tensor, centre: Tensor, k: int, groups: Tensor) -> Tensor:
    """Distances of each feature to its k nearest others in each group, ascending: float32 [N, groups, k].

    Infinite where a group has fewer others.
    """
    n, count = len(features), int(groups.max()) + 1
    found = torch.full((n, count, k), torch.inf, device=centre.device)
    with progress_bar(n, "neighbours", disable=quick(n, n, features.shape[1])) as bar:
        for start in range(0, n, ROWS):
            rows = torch.arange(start, min(start + ROWS, n))
            x = as_float64(features[rows]).to(centre.device) - centre
            for group, columns in group_blocks(groups):
                distances = pair_distances(x, as_float64(features[columns]).to(centre.device) - centre)
                distances[(rows[:, None] == columns).to(distances.device)] = torch.inf  # itself
                together = torch.cat([found[rows, group], distances.to(found)], dim=1)
                found[rows, group] = together.topk(k, dim=1, largest=False).values
            bar.update(len(rows))
    return found


def quick(n: int, m: int, dim: int) -> bool:
    """Whether so many distances take but a second or two, and need no progress bar: about 0.1 ns times (dim + 200) each."""
    return n * m * (dim + 200) < 2e10


def group_blocks(groups: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Indices of each group, no more than COLUMNS at a time."""
    for group in range(int(groups.max()) + 1):
        for columns in (groups == group).nonzero()[:, 0].split(COLUMNS):
            yield group, columns


def pair_distances(x: Tensor, y: Tensor) -> Tensor:
    """Euclidean distances float32 [n, m] of x [n, D] and y [m, D], both float64.

    By a matrix product, 13 times as fast as by differences at D = 2048. In float64 that leaves an error of about 1e-15 of the
    squared norms: below 1e-12 of them a square is rounding, and zero, so that copies are at distance zero. Squares and roots
    are rounded to float32 (as scikit-learn does under the prdc package), so that equal distances stay equal and "nearer than
    the k-th neighbour" excludes the neighbour itself.
    """
    scale = x.square().sum(dim=1)[:, None] + y.square().sum(dim=1)
    squared = torch.addmm(scale, x, y.T, alpha=-2)
    return squared.masked_fill_(squared < 1e-12 * scale, 0).to(torch.float32).sqrt_()
