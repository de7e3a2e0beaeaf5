"""Frechet distance between Gaussians (Heusel et al. 2017, arXiv 1706.08500, Eq. 6), in float64 and real by construction."""

from typing import Any

import torch
from torch import Tensor

from edm2lite.errors import UserError


def frechet_distance(mu_a: Any, sigma_a: Any, mu_b: Any, sigma_b: Any) -> float:
    """|mu_a - mu_b|^2 + tr(Sigma_a) + tr(Sigma_b) - 2 tr((Sigma_a Sigma_b)^(1/2)).

    With Sigma_b = R R^T, the trace of the root is the sum of the roots of the eigenvalues of the symmetric
    R^T Sigma_a R; no root of a non-symmetric matrix, no imaginary parts.

    Args:
        mu_a, mu_b: Means, [D].
        sigma_a, sigma_b: Covariances, [D, D]; they may be singular. Arrays or tensors, computed in float64.

    Raises:
        UserError: If shapes differ or a value is not finite.
    """
    mu_a, sigma_a, mu_b, sigma_b = (torch.as_tensor(x, dtype=torch.float64) for x in (mu_a, sigma_a, mu_b, sigma_b))
    if mu_a.shape != mu_b.shape or sigma_a.shape != sigma_b.shape or sigma_a.shape != (len(mu_a), len(mu_a)):
        shapes = ", ".join(str(list(x.shape)) for x in (mu_a, sigma_a, mu_b, sigma_b))
        raise UserError(f"statistics have shapes {shapes}; they must be [D], [D,D], [D], [D,D] of one detector")
    if not all(x.isfinite().all() for x in (mu_a, sigma_a, mu_b, sigma_b)):
        raise UserError("statistics hold values that are not finite; check the images and the detector")
    root_b = _factor(sigma_b)
    middle = root_b.T @ sigma_a @ root_b
    trace_root = torch.linalg.eigvalsh((middle + middle.T) / 2).clamp(min=0).sqrt().sum()
    return float((mu_a - mu_b).square().sum() + sigma_a.trace() + sigma_b.trace() - 2 * trace_root)


def _factor(sigma: Tensor) -> Tensor:
    """R with R R^T = sigma, for a symmetric positive semi-definite matrix."""
    eigenvalues, vectors = torch.linalg.eigh((sigma + sigma.T) / 2)
    return vectors * eigenvalues.clamp(min=0).sqrt()
