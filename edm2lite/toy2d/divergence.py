"""Kullback-Leibler divergences of points in the plane: from samples, and the exact one of a sampler that is a smooth map."""

import math
from collections.abc import Callable

import torch
from sklearn.neighbors import KDTree
from torch import Tensor

NEIGHBOURS = 1  # more blur thin branches, see `entropy`
_RESOLUTION = 2.0**-24  # nearer points cannot be told apart in float32


def entropy(points: Tensor, k: int = NEIGHBOURS) -> float:
    """Differential entropy in nats of the distribution that points [N, 2] are from, from distances to their k-th neighbours.

    psi(N) - psi(k) + ln(pi) + 2 mean ln r_k (Kozachenko & Leonenko 1987; Kraskov et al. 2004, Eq. 20).
    """
    n = len(points)
    psi = torch.tensor([n, k], dtype=torch.float64).digamma()
    return float(psi[0] - psi[1]) + math.log(math.pi) + 2 * _mean_log_distance(points, points, k + 1)


def cross_divergence(points: Tensor, other: Tensor, k: int = NEIGHBOURS) -> float:
    """KL(points || other) of the distributions of points [N, 2] and other [M, 2], from both samples alone.

    2 mean (ln r_k(other) - ln r_k(points)) + ln(M / (N - 1)), r_k being the distance of each point to its k-th neighbour
    (Wang, Kulkarni & Verdu 2009, the same k for both).
    """
    gap = _mean_log_distance(points, other, k) - _mean_log_distance(points, points, k + 1)
    return 2 * gap + math.log(len(other) / (len(points) - 1))


def _mean_log_distance(points: Tensor, among: Tensor, k: int) -> float:
    """Mean over points of ln(distance to the k-th nearest of `among`), where a point itself counts."""
    distance = KDTree(among.numpy()).query(points.numpy(), k=k)[0][:, -1]
    return float(torch.from_numpy(distance).clamp(min=_RESOLUTION).log().mean())


def exact_kl(
    sampler: Callable[[Tensor], Tensor], noise: Tensor, logp: Callable[[Tensor], Tensor], step: float = 1e-5
) -> Tensor:
    """ln q(x) - ln p(x) at the points x that a sampler makes of unit noise: its mean is KL(q || p), q being what it samples.

    The sampler is a smooth map z -> x of the plane, so q(x) = N(z; 0, I) / |det dx/dz|; derivatives are central differences.
    Where it folds the plane, q is the sum over several z, and one of them gives too little; strong guidance does, see det < 0.

    Args:
        sampler: Noise [N, 2] to points [N, 2], each from its own noise alone; in float64. It is called five times.
        noise: Unit noise [N, 2], float64.
        logp: Exact log-density of points [N, 2] -> [N].
        step: Of the differences, in units of the noise.

    Returns:
        [N].
    """
    columns = [(sampler(noise + step * e) - sampler(noise - step * e)) / (2 * step) for e in torch.eye(2).to(noise)]
    volume = torch.stack(columns, dim=-1).det().abs()
    normal = -noise.square().sum(dim=1) / 2 - math.log(2 * math.pi)
    return normal - volume.log() - logp(sampler(noise))
