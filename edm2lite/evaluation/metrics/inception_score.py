"""Inception Score (Salimans et al. 2016, arXiv 1606.03498): how sure a classifier is of each image, and how varied of all."""

import numpy as np
import torch
from torch import Tensor

from edm2lite.evaluation.metrics.checks import as_float64, check_features
from edm2lite.evaluation.metrics.protocol import IS_SEED, IS_SPLITS
from edm2lite.evaluation.metrics.uncertainty import Estimate


def inception_score_estimate(logits: Tensor, groups: Tensor, splits: int = IS_SPLITS, seed: int = IS_SEED) -> Estimate:
    """Mean over random splits of exp(mean KL(p(class|image) || p(class))), with p(class) the mean over the split.

    As torch-fidelity shuffles and computes it. The spread over the splits, "split_sd", is what others print behind a
    plus-minus sign; it is no standard error of the mean. For that, each group of images is left out of all splits.

    Args:
        logits: [N, classes], of a classifier; N >= splits.
        groups: Group of each image, int64 [N].
        splits, seed: Of the shuffled images.
    """
    check_features(logits, least=splits)
    n, count = len(logits), int(groups.max()) + 1
    order = torch.from_numpy(np.random.RandomState(seed).permutation(n))
    scores = []
    for i in range(splits):
        index = order[i * n // splits : (i + 1) * n // splits]
        scores.append(_scores(as_float64(logits[index]), groups[index], count))
    values = torch.stack(scores).cpu().numpy()
    without = tuple(values[:, 1:].mean(axis=0).tolist()) if np.isfinite(values).all() else ()
    return Estimate(float(values[:, 0].mean()), without, {"split_sd": float(values[:, 0].std())})


def _scores(logits: Tensor, groups: Tensor, count: int) -> Tensor:
    """Score of one split, and without each group; nan where none is left.

    The mean of KL(p || q) is the mean of sum p log p, less sum q log q, so that sums over the groups are enough.
    """
    log_p = logits.log_softmax(dim=1)
    p = log_p.exp()
    members = torch.nn.functional.one_hot(groups, count).to(p)  # [n, groups]
    per_group = [members.T @ p, members.T @ (p * log_p).sum(dim=1), members.sum(dim=0)]
    p_sum, entropy_sum, images = (torch.cat([x.sum(0, keepdim=True), x.sum(0) - x]) for x in per_group)
    q = p_sum / images[:, None]
    return (entropy_sum / images - torch.xlogy(q, q).sum(dim=1)).exp()
