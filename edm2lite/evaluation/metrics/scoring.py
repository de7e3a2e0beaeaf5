"""Scores of one block of images from its features: any metric, with its errors."""

import sys
from collections.abc import Iterable
from functools import cache

import torch
from torch import Tensor

from edm2lite.config.metrics import Metric
from edm2lite.errors import UserError
from edm2lite.evaluation.detectors.detector import Detector
from edm2lite.evaluation.metrics.checks import check_features
from edm2lite.evaluation.metrics.frechet import FrechetReference
from edm2lite.evaluation.metrics.gaussian import frechet_estimate, per_class_estimate
from edm2lite.evaluation.metrics.inception_score import inception_score_estimate
from edm2lite.evaluation.metrics.kernel import kernel_estimate
from edm2lite.evaluation.metrics.neighbours import Manifold
from edm2lite.evaluation.metrics.prdc import prdc_estimates
from edm2lite.evaluation.metrics.protocol import NEIGHBOURS
from edm2lite.evaluation.metrics.uncertainty import GROUPS, Estimate, extrapolate, jackknife_groups, jackknife_se
from edm2lite.evaluation.reference import Statistics
from edm2lite.evaluation.score import Score

# A Frechet distance is extrapolated from N >= 4 D on. Measured, Gaussians of D = 64: at 4 D the mean is within an error of the
# truth, at 2 D up to four below, at D far below zero, because the covariance has a rank of N - 1 at most.
ENOUGH = 4
NO_LABELS = "the images have no labels, which FD per class needs; take a folder or dataset with labels"


def scores(
    metrics: Iterable[Metric],
    features: Tensor,
    stats: Statistics | None,
    *,
    labels: Tensor | None = None,
    detector: Detector | None = None,
    reference: FrechetReference | None = None,
    manifold: Manifold | None = None,
    groups: int = GROUPS,
) -> dict[Metric, Score]:
    """Metrics of a block of images in the features of one detector. Those that need distances between images share them.

    Args:
        metrics: Of the same detector.
        features: [N, D] float32, sorted by seed, so that equal seeds fall into equal groups of the jackknife.
        stats: The reference in the same features; None will do for the Inception Score.
        labels: Class of each image, int64 [N]; for kind "fd_per_class".
        detector: For kind "is", whose logits it gives.
        reference: Decomposed mean and covariance of `stats`, kept by who scores several blocks; None: decomposed here.
        manifold: Likewise, the features of `stats` with their neighbours: reference_manifold(stats).
        groups: Groups of the jackknife.

    Raises:
        UserError: If images are too few, features are not finite or of another detector, or the reference, labels or detector
            lack what a metric needs.
    """
    metrics = tuple(metrics)
    check_features(features, None if stats is None else len(stats.mu), least=2)
    count = min(groups, len(features))
    group = torch.from_numpy(jackknife_groups(len(features), count))
    estimates: dict[Metric, Estimate] = {}
    neighbours = {m.kind: NEIGHBOURS[m.kind] for m in metrics if m.kind in NEIGHBOURS}
    if neighbours:
        manifold = manifold or reference_manifold(_given(stats), features.device)
        by_kind = prdc_estimates(features, manifold, group, neighbours)
    for metric in metrics:
        if metric.kind in NEIGHBOURS:
            estimates[metric] = by_kind[metric.kind]
        elif metric.kind == "is":
            estimates[metric] = inception_score_estimate(_logits(features, detector), group)
        elif metric.kind == "kd":
            estimates[metric] = kernel_estimate(features, _features(_given(stats)).to(features.device), group)
        elif metric.kind == "fd_per_class":
            estimates[metric] = _per_class(features, labels, _given(stats), count)
        else:
            reference = reference or frechet_reference(_given(stats), features.device)
            _warn_of_few(metric.title, len(features), reference.dim)
            estimates[metric] = frechet_estimate(features, reference, group)
    return {metric: _scored(metric, estimate, features) for metric, estimate in estimates.items()}


def reference_manifold(stats: Statistics, device: torch.device | str = "cpu") -> Manifold:
    """The features of a reference with their nearest neighbours, for precision ... coverage of several blocks.

    Raises:
        UserError: If the reference has no features, or too few.
    """
    return Manifold(_features(stats).to(device), max(NEIGHBOURS.values()))


def frechet_reference(stats: Statistics, device: torch.device) -> FrechetReference:
    """The Gaussian of a reference on a device; on the CPU for MPS, which has no float64."""
    device = torch.device("cpu") if device.type == "mps" else device
    return FrechetReference(torch.as_tensor(stats.mu, device=device), torch.as_tensor(stats.sigma, device=device))


def _scored(metric: Metric, estimate: Estimate, features: Tensor) -> Score:
    """With errors. The bias of a distance falls as 1/N only where N is several D; see ENOUGH."""
    enough = metric.kind == "fd" and len(features) >= ENOUGH * features.shape[1]
    return Score(
        value=estimate.value,
        num_images=len(features),
        se=jackknife_se(estimate.leave_one_out),
        extrapolated=extrapolate(estimate.value, estimate.leave_one_out) if enough else None,
        details=estimate.details,
        leave_one_out=estimate.leave_one_out,
    )


def _per_class(features: Tensor, labels: Tensor | None, stats: Statistics, groups: int) -> Estimate:
    if labels is None:
        raise UserError(NO_LABELS)
    if len(labels) != len(features):
        raise UserError(f"there are {len(labels)} labels of {len(features)} images; they must be as many")
    theirs = _features(stats).to(features.device)
    if stats.labels is None:
        raise UserError(
            "the reference has no labels, which FD per class needs; make it of a dataset with labels: evaluate.py ref"
        )
    return per_class_estimate(features, labels, theirs, torch.from_numpy(stats.labels), groups)


def _logits(features: Tensor, detector: Detector | None) -> Tensor:
    if detector is None:
        raise UserError("the Inception Score needs a detector; use is (inception) or is_digits")
    parts = []
    with torch.no_grad():
        for part in features.split(4096):
            logits = detector.logits(part)
            if logits is None:
                raise UserError(
                    f"detector {detector.name} is no classifier, as the Inception Score needs; use is (inception) or is_digits"
                )
            parts.append(logits.to(features.device))
    return torch.cat(parts)


def _features(stats: Statistics) -> Tensor:
    if stats.features is None:
        raise UserError(
            "the reference holds mean and covariance alone, and this metric needs features: make it with evaluate.py ref "
            "--features N"
        )
    return torch.from_numpy(stats.features)


def _given(stats: Statistics | None) -> Statistics:
    if stats is None:
        raise UserError("this metric needs a reference; name one, or make it: evaluate.py ref")
    return stats


@cache
def _warn_of_few(title: str, count: int, dim: int) -> None:
    """Once for each."""
    if count <= dim:
        print(
            f"warning: {title} of {count} images in {dim} features: far above its value for many images; compare equal numbers "
            "of images only",
            file=sys.stderr,
        )
