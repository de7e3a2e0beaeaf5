"""Mean and covariance of features, streamed in float64, and the file that holds those of a reference set."""

import json
import os
import zipfile
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from edm2lite.errors import UserError
from edm2lite.files import atomic_path
from edm2lite.sampling.preflight import check_reference_exists


class FeatureStats:
    """Sums over features, from which mean and covariance follow; independent of batch size and order to rounding.

    Args:
        dim: Number of features D.
    """

    def __init__(self, dim: int):
        self.count = 0
        self._sum = torch.zeros(dim, dtype=torch.float64)
        self._outer = torch.zeros(dim, dim, dtype=torch.float64)

    def update(self, features: Tensor) -> None:
        """Add features [B, D] of any float dtype."""
        x = features.detach().to("cpu", torch.float64)
        self.count += len(x)
        self._sum += x.sum(dim=0)
        self._outer += x.T @ x

    @property
    def mu(self) -> Tensor:
        """Mean, float64 [D]."""
        self._need(1)
        return self._sum / self.count

    @property
    def sigma(self) -> Tensor:
        """Unbiased covariance, float64 [D, D]."""
        self._need(2)
        mu = self.mu
        return (self._outer - self.count * torch.outer(mu, mu)) / (self.count - 1)

    def _need(self, least: int) -> None:
        if self.count < least:
            raise UserError(f"statistics of {self.count} images; at least {least} are needed")


@dataclass(frozen=True, kw_only=True)
class ReferenceStats:
    """Statistics of a reference set, with what makes two of them comparable.

    Attributes:
        mu, sigma: Mean [D] and covariance [D, D], float64.
        num_images: Images behind them.
        detector: Name of the feature extractor.
        detector_sha256: Identity of its weights.
        dataset: Name of the reference set.
    """

    mu: np.ndarray
    sigma: np.ndarray
    num_images: int
    detector: str
    detector_sha256: str
    dataset: str

    def save(self, path: str | os.PathLike) -> None:
        """Write as .npz, atomically."""
        provenance = {k: v for k, v in asdict(self).items() if k not in ("mu", "sigma")}
        with atomic_path(path) as temporary, open(temporary, "wb") as f:
            np.savez(f, mu=self.mu, sigma=self.sigma, provenance=json.dumps(provenance))

    @staticmethod
    def load(path: str | os.PathLike) -> "ReferenceStats":
        """Read what `save` wrote.

        Raises:
            UserError: If the file is missing, damaged, or holds something else.
        """
        check_reference_exists(str(path))
        try:
            with np.load(path, allow_pickle=False) as data:
                return ReferenceStats(mu=data["mu"], sigma=data["sigma"], **json.loads(str(data["provenance"])))
        except (KeyError, ValueError, OSError, TypeError, zipfile.BadZipFile) as e:
            raise UserError(
                f"{path} holds no reference statistics of edm2lite ({e}); make them anew: evaluate.py ref"
            ) from e
