"""Frechet distance between Gaussians (Heusel et al. 2017, arXiv 1706.08500, Eq. 6), in float64 and real by construction.

|mu_a - mu_b|^2 + tr(Sigma_a) + tr(Sigma_b) - 2 tr((Sigma_a Sigma_b)^(1/2)). With Sigma_b = R R^T, the trace of the root is the
sum of the roots of the eigenvalues of the symmetric R^T Sigma_a R: no root of a non-symmetric matrix, no imaginary parts.
Where Sigma_a = X^T X / (N-1) of N <= D centred features, these are the eigenvalues of the small X R (X R)^T / (N-1).
"""

import sys
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from edm2lite.errors import UserError
from edm2lite.evaluation.metrics.checks import as_float64, check_features
from edm2lite.evaluation.metrics.moments import Moments

ROUNDING = 1e-6  # of the sum of both traces: the most a distance may be negative by rounding
NEGATIVE = 1e-5  # of the largest eigenvalue: the most another may be negative, in statistics stored in float32


class FrechetReference:
    """The Gaussian of a reference set, whose covariance is decomposed once, at first use.

    Args:
        mu: Mean [D].
        sigma: Covariance [D, D]; it may be singular. Arrays or tensors; computed in float64 on the device of `mu`.

    Raises:
        UserError: If shapes do not fit, a value is not finite, or `sigma` has negative eigenvalues (at first use).
    """

    def __init__(self, mu: Any, sigma: Any):
        self.mu, self.sigma = _checked(mu, sigma)
        self.dim = len(self.mu)

    @cached_property
    def root(self) -> Tensor:
        """R [D, rank] with R R^T = sigma.

        By Cholesky, 13 times as fast as by eigenvectors at D = 2048, and nearer where sigma is nearly singular. It fails where
        sigma is singular, for example by dead features: then without the eigenvalues that are rounding, whose roots would not
        be small.
        """
        sigma = (self.sigma + self.sigma.T) / 2
        factor, failed = torch.linalg.cholesky_ex(sigma)
        if not failed:
            return factor
        values, vectors = torch.linalg.eigh(sigma)
        _check_positive(values)
        keep = values > self.dim * sys.float_info.epsilon * values[-1].clamp(min=0)
        return vectors[:, keep] * values[keep].sqrt()

    def distance(self, mu: Any, sigma: Any) -> float:
        """Distance from the Gaussian of a mean [D] and a covariance [D, D], which may be singular.

        Raises:
            UserError: If shapes differ, a value is not finite, or `sigma` has negative eigenvalues.
        """
        mu, sigma = _checked(mu, sigma)
        if mu.shape != self.mu.shape:
            shapes = f"{list(mu.shape)}, {list(sigma.shape)} and {list(self.mu.shape)}, {list(self.sigma.shape)}"
            raise UserError(f"statistics have shapes {shapes}; both must be [D], [D,D] of one detector")
        mu, sigma = mu.to(self.mu.device), sigma.to(self.mu.device)
        middle = self.root.T @ sigma @ self.root
        values = torch.linalg.eigvalsh((middle + middle.T) / 2)
        _check_positive(values)
        return _distance(mu - self.mu, sigma.trace(), self.sigma.trace(), values.clamp(min=0).sqrt().sum())

    def distance_of(self, features: Tensor) -> float:
        """Distance from features [N, D], N >= 2; through N x N matrices where N <= D, exact also for few images.

        Raises:
            UserError: If features are of another shape, fewer than two, or not finite.
        """
        check_features(features, self.dim, least=2)
        if len(features) > self.dim:
            moments = Moments(self.dim, device=self.mu.device)
            moments.update(features)
            return self.distance(moments.mu, moments.sigma)
        x = as_float64(features).to(self.mu.device)
        mu = x.mean(dim=0)
        x = x - mu
        trace_root = nuclear_norm_of_centred(x @ self.root) / (len(x) - 1) ** 0.5
        return _distance(mu - self.mu, x.square().sum() / (len(x) - 1), self.sigma.trace(), trace_root)


def frechet_distance(mu_a: Any, sigma_a: Any, mu_b: Any, sigma_b: Any) -> float:
    """Frechet distance between two Gaussians.

    Args:
        mu_a, mu_b: Means, [D].
        sigma_a, sigma_b: Covariances, [D, D]; they may be singular. Arrays or tensors, computed in float64.

    Raises:
        UserError: If shapes differ, a value is not finite, or a covariance has negative eigenvalues.
    """
    return FrechetReference(mu_b, sigma_b).distance(mu_a, sigma_a)


def frechet_distance_of(x: Tensor, y: Tensor) -> float:
    """Frechet distance between two sets of features [N, D], [M, D]; N, M >= 2; through small matrices if one of N, M is <= D.

    The eigenvalues are then the squared singular values of X Y^T / sqrt((N-1) (M-1)), of centred features.

    Raises:
        UserError: If features are of different D, fewer than two, or not finite.
    """
    check_features(x, least=2)
    check_features(y, x.shape[1], least=2)
    x, y = as_float64(x), as_float64(y)
    if min(len(x), len(y)) > x.shape[1]:
        return FrechetReference(y.mean(dim=0), y.T.cov()).distance(x.mean(dim=0), x.T.cov())
    apart = x.mean(dim=0) - y.mean(dim=0)
    x, y = x - x.mean(dim=0), y - y.mean(dim=0)
    n, m = len(x) - 1, len(y) - 1
    trace_root = nuclear_norm_of_centred(x @ y.T if n <= m else y @ x.T) / (n * m) ** 0.5
    return _distance(apart, x.square().sum() / n, y.square().sum() / m, trace_root)


def nuclear_norm_of_centred(y: Tensor) -> Tensor:
    """Sum of the singular values of y [N, M] whose rows sum to zero, by the eigenvalues of the smaller of y y^T, y^T y.

    The vector of ones is in the kernel of y y^T; its eigenvalue, zero but for rounding, is the smallest and left out, because
    the root of a rounding error of 1e-16 is 1e-8.
    """
    tall = y.shape[0] > y.shape[1]
    values = torch.linalg.eigvalsh(y.T @ y if tall else y @ y.T)
    return values[0 if tall else 1 :].clamp(min=0).sqrt().sum()


def _checked(mu: Any, sigma: Any) -> tuple[Tensor, Tensor]:
    mu, sigma = as_float64(torch.as_tensor(mu)), as_float64(torch.as_tensor(sigma))
    if mu.ndim != 1 or sigma.shape != (len(mu), len(mu)):
        raise UserError(f"statistics have shapes {list(mu.shape)}, {list(sigma.shape)}; they must be [D], [D,D]")
    if not (mu.isfinite().all() and sigma.isfinite().all()):
        raise UserError("statistics hold values that are not finite; check the images and the detector")
    return mu, sigma


def _check_positive(values: Tensor) -> None:
    """Refuse ascending eigenvalues of what is no covariance."""
    if len(values) and values[0] < -NEGATIVE * values.abs().max():
        raise UserError(
            f"sigma has a negative eigenvalue, {float(values[0]):.3g}, beside {float(values[-1]):.3g}: it is no covariance; "
            "make the statistics anew"
        )


def _distance(apart: Tensor, trace_a: Tensor, trace_b: Tensor, trace_root: Tensor) -> float:
    """The four terms together. The exact sum is never negative: a small negative number is rounding, and is zero."""
    traces = float(trace_a + trace_b)
    distance = float(apart.square().sum()) + traces - 2 * float(trace_root)
    if distance < -ROUNDING * traces:
        raise UserError(f"the Frechet distance is {distance:.3g}: these are no covariances; make the statistics anew")
    return max(distance, 0.0)
