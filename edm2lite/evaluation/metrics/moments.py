"""Mean and covariance of features, streamed in float64, in groups of images for the jackknife."""

from collections.abc import Iterable

import torch
from torch import Tensor

from edm2lite.errors import UserError
from edm2lite.evaluation.metrics.checks import as_float64, check_features

ROWS = 4096  # features in float64 at a time


class Moments:
    """Number, mean and scatter (sum of squared deviations from the mean) of the features of each group.

    The scatter is about the group's own mean at all times (Chan, Golub & LeVeque 1983), so nothing cancels where the mean is
    large beside the spread; the result depends on batch sizes, order and sharding by rounding alone.

    Args:
        dim: Number of features D.
        groups: Number of groups G; the memory is 8 G D^2 bytes, 335 MB for 10 groups of 2048 features.
        device: Where it is kept and computed.
    """

    def __init__(self, dim: int, groups: int = 1, device: torch.device | str = "cpu"):
        self.dim, self.groups = dim, groups
        self._counts = [0] * groups
        self._means = torch.zeros(groups, dim, dtype=torch.float64, device=device)
        self._scatters = torch.zeros(groups, dim, dim, dtype=torch.float64, device=device)

    @property
    def count(self) -> int:
        """Images in all."""
        return sum(self._counts)

    def update(self, features: Tensor, groups: Tensor | None = None) -> None:
        """Add features [B, D] of any float dtype; `groups` int64 [B] gives the group of each, None: all are of group 0.

        Raises:
            UserError: If features have another D or are not finite.
        """
        check_features(features, self.dim)
        for group in range(self.groups) if groups is not None else (0,):
            rows = features if groups is None else features[groups == group]
            for part in rows.split(ROWS) if len(rows) else ():
                x = as_float64(part).to(self._means.device)
                mean = x.mean(dim=0)
                x = x - mean
                self._add(group, len(x), mean, x.T @ x)

    def merge(self, other: "Moments") -> None:
        """Add what another one has seen, group by group.

        Raises:
            UserError: If it has other dimensions or groups.
        """
        if (self.dim, self.groups) != (other.dim, other.groups):
            raise UserError(
                f"moments of {other.dim} features in {other.groups} groups cannot be added to {self.dim} in {self.groups}; "
                "make both with the same detector and groups"
            )
        for group in range(self.groups):
            self._add(group, *other._part(group))

    def total(self) -> "Moments":
        """Of all groups together, as one group."""
        return self._joined(range(self.groups))

    def without(self, group: int) -> "Moments":
        """Of all groups but one, as one group."""
        return self._joined(g for g in range(self.groups) if g != group)

    @property
    def mu(self) -> Tensor:
        """Mean of all groups, float64 [D]."""
        self._need(1)
        return self.total()._means[0]

    @property
    def sigma(self) -> Tensor:
        """Unbiased covariance of all groups, float64 [D, D].

        Raises:
            UserError: If it has seen fewer than two images.
        """
        self._need(2)
        return self.total()._scatters[0] / (self.count - 1)

    def _joined(self, groups: Iterable[int]) -> "Moments":
        joined = Moments(self.dim, device=self._means.device)
        for group in groups:
            joined._add(0, *self._part(group))
        return joined

    def _part(self, group: int) -> tuple[int, Tensor, Tensor]:
        return self._counts[group], self._means[group], self._scatters[group]

    def _add(self, group: int, count: int, mean: Tensor, scatter: Tensor) -> None:
        """Join two sets: their scatters, and that of their means about the common one."""
        if not count:
            return
        have = self._counts[group]
        apart = mean.to(self._means.device) - self._means[group]
        self._scatters[group] += scatter.to(self._means.device)
        self._scatters[group].addr_(apart, apart, alpha=have * count / (have + count))
        self._means[group] += apart * (count / (have + count))
        self._counts[group] += count

    def _need(self, least: int) -> None:
        if self.count < least:
            raise UserError(f"statistics of {self.count} images; at least {least} are needed")
