"""Frechet distances of features with their jackknife: of all images, and class by class."""

import numpy as np
import torch
from torch import Tensor

from edm2lite.errors import UserError
from edm2lite.evaluation.metrics.checks import as_float64, check_features
from edm2lite.evaluation.metrics.frechet import FrechetReference, frechet_distance_of
from edm2lite.evaluation.metrics.moments import Moments
from edm2lite.evaluation.metrics.uncertainty import Estimate
from edm2lite.progress import progress_bar


def frechet_estimate(features: Tensor, reference: FrechetReference, groups: Tensor) -> Estimate:
    """Distance of features [N, D] from the reference, and without each group of them.

    Args:
        features: Features [N, D], N >= 2.
        reference: Of the same detector.
        groups: Group of each image, int64 [N].
    """
    check_features(features, reference.dim, least=2)
    count = int(groups.max()) + 1
    enough = len(features) - int(groups.bincount().max()) >= 2
    with progress_bar(1 + count * enough, "Frechet distances", disable=reference.dim < 1024, unit="set") as bar:
        if len(features) <= reference.dim:
            value = reference.distance_of(features)
        else:
            moments = Moments(reference.dim, count, reference.mu.device)
            moments.update(features, groups)
            value = reference.distance(moments.mu, moments.sigma)
        bar.update()
        without = []
        for group in range(count) if enough else ():
            if len(features) <= reference.dim:
                without.append(reference.distance_of(features[groups != group]))
            else:
                rest = moments.without(group)
                without.append(reference.distance(rest.mu, rest.sigma))
            bar.update()
    return Estimate(value, tuple(without))


def per_class_estimate(
    features: Tensor, labels: Tensor, reference: Tensor, reference_labels: Tensor, groups: int
) -> Estimate:
    """Mean over the classes of the reference of the Frechet distance between the images of that class.

    Between small sets on both sides it is large by bias; compare only equal numbers of images a class.

    Args:
        features, labels: Generated: features [N, D], int64 [N].
        reference, reference_labels: Features [M, D], int64 [M].
        groups: Groups of the jackknife; they part each class evenly, so that a group holds some of every class.

    Raises:
        UserError: If a class of the reference has fewer than two images on either side.
    """
    check_features(features, least=2)
    check_features(reference, features.shape[1], least=2)
    classes = reference_labels.unique().tolist()
    few = [c for c in classes if min(int((labels == c).sum()), int((reference_labels == c).sum())) < 2]
    if few:
        ours, theirs = int((labels == few[0]).sum()), int((reference_labels == few[0]).sum())
        raise UserError(
            f"{len(few)} of {len(classes)} classes have fewer than two images: class {few[0]} has {ours} generated, "
            f"{theirs} in the reference; draw more images, or keep more features in the reference"
        )
    rows: list[list[float]] = []
    with progress_bar(len(classes), "classes", disable=len(classes) < 100, unit="class") as bar:
        for c in classes:
            rows.append(_one_class(features[labels == c], reference[reference_labels == c], groups, offset=len(rows)))
            bar.update()
    values = np.array(rows)
    without = tuple(values[:, 1:].mean(axis=0).tolist()) if np.isfinite(values).all() else ()
    details = {f"class {c}": float(value) for c, value in zip(classes, values[:, 0], strict=True)}
    return Estimate(float(values[:, 0].mean()), without, details)


def _one_class(x: Tensor, y: Tensor, groups: int, offset: int) -> list[float]:
    """Distance of the images of a class, and without those of each group; nan where fewer than two would be left.

    The offset spreads classes of few images over all groups.
    """
    group = (torch.arange(len(x)) + offset) % groups
    y, sets = as_float64(y), [x, *(x[group != g] for g in range(groups))]
    return [frechet_distance_of(as_float64(part), y) if len(part) > 1 else float("nan") for part in sets]
