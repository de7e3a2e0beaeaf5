"""Kernel distance (KID; Binkowski et al. 2018, arXiv 1801.01401): squared maximum mean discrepancy with a cubic kernel."""

import numpy as np
import torch
from torch import Tensor

from edm2lite.evaluation.metrics.checks import as_float64, check_features
from edm2lite.evaluation.metrics.protocol import KD_SEED, KD_SUBSET_SIZE, KD_SUBSETS
from edm2lite.evaluation.metrics.uncertainty import Estimate
from edm2lite.progress import progress_bar


def kernel_estimate(
    features: Tensor,
    reference: Tensor,
    groups: Tensor,
    subsets: int = KD_SUBSETS,
    subset_size: int = KD_SUBSET_SIZE,
    seed: int = KD_SEED,
) -> Estimate:
    """Mean over random subsets of the unbiased MMD^2 with the kernel (x.y/D + 1)^3, as torch-fidelity draws and computes it.

    The spread over the subsets, "subset_sd", is what others print behind a plus-minus sign. It is no standard error: it
    depends on the size of the subsets, which also overlap. For that, each group of images is left out of all subsets; the
    subsets are part of the metric and stay. An image that is in more of them weighs more in both value and error.

    Args:
        features: Generated, [N, D]; N >= 2.
        reference: [M, D]; M >= 2.
        groups: Group of each generated image, int64 [N].
        subsets, subset_size, seed: Of the subsets, as large as N and M allow; "subset_size" in the details.
    """
    check_features(features, least=2)
    check_features(reference, features.shape[1], least=2)
    size, count = min(subset_size, len(features), len(reference)), int(groups.max()) + 1
    rng, values = np.random.RandomState(seed), np.empty((subsets, 1 + count))
    membership = torch.nn.functional.one_hot(groups, count)
    with progress_bar(subsets, "kernel distance", disable=size * size * features.shape[1] < 1e8, unit="set") as bar:
        for row in values:
            index, other = (torch.from_numpy(rng.choice(len(f), size, replace=False)) for f in (features, reference))
            x, y = as_float64(features[index]), as_float64(reference[other])
            row[:] = _discrepancies(x, y.to(x.device), membership[index].to(x)).tolist()
            bar.update()
    without = tuple(values[:, 1:].mean(axis=0).tolist()) if np.isfinite(values).all() else ()
    return Estimate(float(values[:, 0].mean()), without, {"subset_size": size, "subset_sd": float(values[:, 0].std())})


def _discrepancies(x: Tensor, y: Tensor, members: Tensor) -> Tensor:
    """MMD^2 of x and y [n, D], and without the x of each group; nan where fewer than two x are left.

    Args:
        x, y: Features [n, D].
        members: One-hot groups of x, [n, groups].
    """
    n, kxx, kyy = len(x), _kernel(x, x).fill_diagonal_(0), _kernel(y, y).fill_diagonal_(0)
    within = members.T @ kxx @ members  # sums over pairs of groups
    across = members.T @ _kernel(x, y).sum(dim=1)
    left = torch.cat([torch.zeros_like(across[:1]), members.sum(dim=0)])  # images left out: none, each group
    pairs = within.sum() - torch.cat([across.new_zeros(1), 2 * within.sum(dim=1) - within.diagonal()])
    mixed = across.sum() - torch.cat([across.new_zeros(1), across])
    m = n - left
    mmd = pairs / (m * (m - 1)) + kyy.sum() / (n * (n - 1)) - 2 * mixed / (m * n)
    return mmd.where(m >= 2, torch.nan)


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3
