"""Precision and recall (Kynkaanniemi et al. 2019, arXiv 1904.06991), density and coverage (Naeem et al. 2020, 2002.09797)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from edm2lite.evaluation.metrics.checks import as_float64, check_features
from edm2lite.evaluation.metrics.neighbours import ROWS, Manifold, group_blocks, nearest, pair_distances, quick
from edm2lite.evaluation.metrics.uncertainty import Estimate
from edm2lite.progress import progress_bar


def prdc_estimates(
    features: Tensor, reference: Manifold, groups: Tensor, neighbours: Mapping[str, int]
) -> dict[str, Estimate]:
    """Any of the four, in one pass over all pairs; each equal to the `prdc` package at the same k, and without each group.

    - precision: generated images within a ball of a reference image (up to its k-th nearest reference image);
    - recall: reference images within a ball of a generated image;
    - density: reference balls around a generated image, over k, mean;
    - coverage: reference images whose ball holds a generated image.

    The reference is fixed. Without a group, the balls of the other generated images grow: that, too, is in the error of recall.

    Args:
        features: Generated, [N, D]; N > k.
        reference: The reference's features.
        groups: Group of each generated image, int64 [N].
        neighbours: k by name: precision, recall, density, coverage.
    """
    most = max(neighbours.values())
    check_features(features, reference.features.shape[1], least=most + 1)
    counts = _Counts(features, reference, groups, neighbours)
    n, m = len(features), len(reference.features)
    with progress_bar(m, "precision ... coverage", disable=quick(n, m, features.shape[1])) as bar:
        for start in range(0, m, ROWS):
            rows = slice(start, start + ROWS)
            x = as_float64(reference.features[rows]) - reference.centre
            for group, columns in group_blocks(groups):
                y = as_float64(features[columns]).to(x.device) - reference.centre
                counts.add(rows, group, columns, pair_distances(x, y))
            bar.update(len(x))
    return {name: counts.estimate(name) for name in neighbours}


class _Counts:
    """What the four are made of, gathered over blocks of reference images x generated images of one group.

    Attributes:
        inside: Whether a generated image is within a reference ball, bool [N].
        balls: Number of reference balls around it, [N].
        closest: Distance of a reference image to the nearest generated one of each group, [M, groups].
        reached: Whether it is within a ball of a generated image, of all and without each group, bool [1 + groups, M].
        radii: Of the generated images, of all and without each group, [1 + groups, N].
    """

    def __init__(self, features: Tensor, reference: Manifold, groups: Tensor, neighbours: Mapping[str, int]):
        n, m, self.count = len(features), len(reference.features), int(groups.max()) + 1
        device = reference.centre.device
        self.groups, self.neighbours = groups.to(device), neighbours
        self.own = {k: reference.radii(k) for name, k in neighbours.items() if name != "recall"}
        self.inside = torch.zeros(n, dtype=torch.bool, device=device)
        self.balls = torch.zeros(n, dtype=torch.int64, device=device)
        self.closest = torch.full((m, self.count), torch.inf, device=device)
        self.reached = torch.zeros(1 + self.count, m, dtype=torch.bool, device=device)
        if "recall" in neighbours:
            self.radii = _radii(features, reference.centre, neighbours["recall"], groups)

    def add(self, rows: slice, group: int, columns: Tensor, distances: Tensor) -> None:
        """Distances [rows, columns]; all columns are of one group."""
        columns = columns.to(distances.device)
        if "precision" in self.neighbours:
            within = distances < self.own[self.neighbours["precision"]][rows, None]
            self.inside[columns] |= within.any(dim=0)
        if "density" in self.neighbours:
            self.balls[columns] += (distances < self.own[self.neighbours["density"]][rows, None]).sum(dim=0)
        if "coverage" in self.neighbours:
            self.closest[rows, group] = self.closest[rows, group].minimum(distances.amin(dim=1))
        if "recall" in self.neighbours:
            for i in range(1 + self.count):
                if i != group + 1:
                    self.reached[i, rows] |= (distances < self.radii[i, columns]).any(dim=1)

    def estimate(self, name: str) -> Estimate:
        k = self.neighbours[name]
        if name in ("precision", "density"):
            each = self.inside.double() if name == "precision" else self.balls.double() / k
            values = [each.mean(), *(each[self.groups != g].mean() for g in range(self.count))]
        elif name == "recall":
            values = list(self.reached.double().mean(dim=1))
            if not self.radii.isfinite().all():  # without a group there are no k neighbours
                return Estimate(float(values[0]))
        else:
            values = [self._covered(k, None), *(self._covered(k, g) for g in range(self.count))]
        return Estimate(float(values[0]), tuple(float(v) for v in values[1:]) if self.count > 1 else ())

    def _covered(self, k: int, without: int | None) -> Tensor:
        kept = [g for g in range(self.count) if g != without]
        return (self.closest[:, kept].amin(dim=1) < self.own[k]).double().mean()


def _radii(features: Tensor, centre: Tensor, k: int, groups: Tensor) -> Tensor:
    """Distance to the k-th nearest other of all, and of all but each group, [1 + groups, N]."""
    found = nearest(features, centre, k, groups)
    sets = [None, *range(found.shape[1])]
    kept = ([g for g in range(found.shape[1]) if g != without] for without in sets)
    return torch.stack([found[:, some].flatten(1).kthvalue(k).values for some in kept])
