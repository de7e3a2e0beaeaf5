"""The mixture itself, exact at every noise level: log-density, score, samples."""

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from edm2lite.errors import unknown_name
from edm2lite.toy2d.tree import COMPONENTS, Branch, branches

CLASSES = {"A": ("A",), "B": ("B",), "AB": ("A", "B")}
_TOGETHER = 2**18  # numbers of points times components: so many stay in a processor's cache


class _Seen(NamedTuple):
    """Points as branches see them, [N, b]: x - middle, the inverse P of the noisy covariance, P (x - middle), ln p."""

    gap: tuple[Tensor, Tensor]
    inverse: tuple[Tensor, Tensor, Tensor]  # P_xx, P_xy, P_yy
    pull: tuple[Tensor, Tensor]
    middle_logp: Tensor  # of a component in the middle of the branch


class GroundTruth:
    """A mixture of Gaussians p(x; sigma) = sum_k w_k N(x; mu_k, C_k + sigma^2 I) whose components lie in rows, the branches.

    Methods take points [N, 2] of any float type on the CPU and a noise level, scalar or [N], 0 or more. They compute
    in `dtype`: in float64 exact to about 1e-12; in float32 twice as fast, exact to about 1e-5.

    Attributes:
        branches: The rows.
        means: Of the components, [K, 2]; those of one branch after those of the other.
        covariances: [K, 2, 2], equal along a branch.
        weights: [K], equal along a branch; their sum is 1.
    """

    def __init__(self, rows: list[Branch], dtype: torch.dtype = torch.float64):
        self.branches, self.dtype = rows, dtype
        published = lambda name: torch.tensor([getattr(b, name).tolist() for b in rows]).to(dtype)  # noqa: E731 - float32
        means, self._covariance = published("means"), published("covariance")
        self._middle = means.mean(dim=1)
        self._x, self._y = (means - self._middle[:, None]).permute(2, 1, 0).contiguous()  # [components, b]
        weight = torch.tensor([b.weight for b in rows], dtype=torch.float64)
        self._weight = (weight / (COMPONENTS * weight.sum())).to(dtype)
        self.means = means.flatten(0, 1)
        self.covariances = self._covariance.repeat_interleave(COMPONENTS, dim=0)
        self.weights = self._weight.repeat_interleave(COMPONENTS)

    def logp(self, x: Tensor, sigma: Tensor | float = 0.0) -> Tensor:
        """log p(x; sigma), [N]."""
        return self._by_rows(lambda seen: self._joint(seen).flatten(1).logsumexp(1), x, sigma)

    def score(self, x: Tensor, sigma: Tensor | float = 0.0) -> Tensor:
        """grad_x log p(x; sigma) = sum_k r_k (C_k + sigma^2 I)^-1 (mu_k - x), r_k the share of component k; [N, 2]."""
        return self._by_rows(self._score, x, sigma)

    def responsibilities(self, x: Tensor, sigma: Tensor | float = 0.0) -> Tensor:
        """Share r_k of each component in the density at each point, [N, K]: the probability that the point is from it."""
        return self._by_rows(lambda seen: self._shares(seen).transpose(1, 2).flatten(1), x, sigma)

    def sample(self, n: int, sigma: Tensor | float = 0.0, generator: torch.Generator | None = None) -> Tensor:
        """Points of p(x; sigma), [n, 2]; sigma scalar or [n]."""
        return self.draw(n, sigma, generator)[0]

    def draw(
        self, n: int, sigma: Tensor | float = 0.0, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Points of p(x; sigma), [n, 2], and the component that each is from, int64 [n]."""
        component = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        own, added = torch.randn(2, n, 2, generator=generator, dtype=self.dtype)
        spread = torch.linalg.cholesky(self._covariance)[component // COMPONENTS]
        noise = torch.as_tensor(sigma, dtype=self.dtype).reshape(-1, 1) * added
        return self.means[component] + (spread @ own[..., None])[..., 0] + noise, component

    def _by_rows(self, f: Callable[[_Seen], Tensor], x: Tensor, sigma: Tensor | float) -> Tensor:
        """f of some points at a time, put together, in the dtype of x."""
        points = x.to(self.dtype)
        variance = torch.as_tensor(sigma, dtype=self.dtype).square().expand(len(x))
        rows = max(1, _TOGETHER // len(self.weights))
        parts = zip(points.split(rows), variance.split(rows), strict=True)
        return torch.cat([f(self._see(*part)) for part in parts]).to(x.dtype)

    def _see(self, x: Tensor, variance: Tensor) -> _Seen:
        """Points [N, 2] at sigma^2 [N]."""
        (a, b), (_, d) = self._covariance.permute(1, 2, 0)
        a, d = a + variance[:, None], d + variance[:, None]
        factor = 1 / (a * d - b * b)  # of the inverse of a 2x2 matrix
        p_xx, p_xy, p_yy = d * factor, -b * factor, a * factor
        gap_x, gap_y = x[:, :1] - self._middle[:, 0], x[:, 1:] - self._middle[:, 1]
        pull_x, pull_y = p_xx * gap_x + p_xy * gap_y, p_xy * gap_x + p_yy * gap_y
        exponent = (factor.log() - pull_x * gap_x - pull_y * gap_y) / 2
        logp = self._weight.log() - math.log(2 * math.pi) + exponent
        return _Seen((gap_x, gap_y), (p_xx, p_xy, p_yy), (pull_x, pull_y), logp)

    def _joint(self, seen: _Seen) -> Tensor:
        """ln of each component's part of the density, [N, components, b].

        With g = x - middle and m the component's place from the middle, (g - m)' P (g - m) = g'Pg - 2 m'Pg + m'Pm.
        """
        x, y = self._x, self._y
        (p_xx, p_xy, p_yy), (pull_x, pull_y) = seen.inverse, seen.pull
        terms = ((pull_x, x), (pull_y, y), (p_xx, -x * x / 2), (p_xy, -x * y), (p_yy, -y * y / 2))
        joint = seen.middle_logp[:, None].repeat(1, COMPONENTS, 1)
        for of_point, of_component in terms:
            joint.addcmul_(of_point[:, None], of_component)
        return joint

    def _shares(self, seen: _Seen) -> Tensor:
        return self._joint(seen).flatten(1).softmax(1).unflatten(1, (COMPONENTS, -1))

    def _score(self, seen: _Seen) -> Tensor:
        """sum_k r_k P (m_k - g), the sum over a branch's components first."""
        share = self._shares(seen)
        whole = share.sum(1)
        to_x = (share * self._x).sum(1) - whole * seen.gap[0]
        to_y = share.mul_(self._y).sum(1) - whole * seen.gap[1]
        p_xx, p_xy, p_yy = seen.inverse
        return torch.stack([(p_xx * to_x + p_xy * to_y).sum(1), (p_xy * to_x + p_yy * to_y).sum(1)], dim=1)


@cache
def ground_truth(classes: str, dtype: torch.dtype = torch.float64) -> GroundTruth:
    """The distribution of class "A", of class "B", or of both together: "AB" (A has 0.477 of the weight).

    Args:
        classes: Which.
        dtype: In what it computes.

    Raises:
        UserError: If there are no such classes.
    """
    if classes not in CLASSES:
        raise unknown_name("classes of the 2D example", classes, CLASSES)
    return GroundTruth([branch for branch in branches() if branch.label in CLASSES[classes]], dtype)
