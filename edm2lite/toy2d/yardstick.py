"""How far a set of points is from the exact distribution of the 2D example."""

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from edm2lite.errors import UserError
from edm2lite.toy2d.coverage import branch_shares, coverage, total_variation
from edm2lite.toy2d.divergence import cross_divergence, entropy
from edm2lite.toy2d.energy_distance import EnergyDistance, cubature
from edm2lite.toy2d.models import LABELS, exact_classifier
from edm2lite.toy2d.tree import GENERATIONS
from edm2lite.toy2d.truth import GroundTruth, ground_truth

LEAST_LOGP = -50.0  # in means: else a few far points decide them, at w = 4 with ln p of minus 10 million
OUTLIERS = 0.001  # of true points
_TRUE_POINTS = 2**20  # for the threshold of outliers: 0.1 % of them are 1049, known to 3 %
_CANDIDATES = 20  # times as many may lie below it
_SEED = 240602507  # of true points; far from the first numbers, which others may take for theirs


@dataclass(frozen=True)
class Quantity:
    """One number about a set of points.

    Attributes:
        title: How tables call it.
        lower_is_better: None: neither; the nearer to what true points have, the better.
        description: What it is, for the foot of a table. What true points have, as many, is the number to compare with.
    """

    title: str
    lower_is_better: bool | None
    description: str


METRICS = {
    "outliers": Quantity("outliers", None, "share of points of lower exact density than 99.9 % of true points"),
    "logp": Quantity("mean log p", None, "mean exact log-density; a point counts with -50 at least"),
    "kl": Quantity(
        "KL", True, "KL(points || truth) in nats: entropy by nearest neighbours, and the mean log p as given here"
    ),
    "reverse_kl": Quantity(
        "reverse KL", True, "KL(truth || points) in nats, by nearest neighbours; too low where branches are missing"
    ),
    "energy": Quantity("energy distance", True, "2 E|X-Y| - E|X-X'| - E|Y-Y'| (not its root), X a point and Y a true one"),
    "tv": Quantity("TV", True, "total variation between shares of points nearest to each component and the weights"),
    "coverage": Quantity("coverage", False, "sum over branches of min(share of points, true weight)"),
    **{
        f"coverage_{depth}": Quantity(f"depth {depth}", False, f"coverage of the branches of generation {depth} alone")
        for depth in range(GENERATIONS)
    },
    "dropped": Quantity("dropped", True, "share of the branches that have less than a tenth of their true weight"),
    "leakage": Quantity("leakage", None, "share of points that more probably are of the other class; about 0.005 of true ones"),
}  # fmt: skip


class Yardstick:
    """Distance of points from the exact distribution p(x; sigma), all in float64.

    Args:
        classes: A, B or AB.
        sigma: Noise level of the truth; the default is the lowest of the published sampler.

    Attributes:
        threshold: Outliers have a lower log-density.

    Raises:
        UserError: If there are no such classes.
    """

    def __init__(self, classes: str, sigma: float = 0.002):
        self.classes, self.sigma, self.truth = classes, sigma, ground_truth(classes)
        self.threshold = low_density(self.truth, sigma)
        self._energy = EnergyDistance(*cubature(self.truth, sigma))

    def logp(self, points: Tensor) -> Tensor:
        """Exact log-density, at least LEAST_LOGP: points [N, 2] -> [N]."""
        return self.truth.logp(points, self.sigma).clamp(min=LEAST_LOGP)

    def measure(self, points: Tensor) -> dict[str, float]:
        """All of METRICS but, of both classes together, `leakage`: of points [N, 2] of any float type, by name in that order.

        The same for the same points; estimates have a bias that depends on N, so compare those of equal N alone.

        Raises:
            UserError: If points are not finite.
        """
        bad = int((~points.isfinite()).any(dim=1).sum())
        if bad:
            raise UserError(f"{bad} of {len(points)} points are not finite: the guidance diverged; lower its weight")
        points = points.double()
        logp = self.logp(points)
        found = {
            "outliers": _share(logp < self.threshold),
            "logp": float(logp.mean()),
            "kl": -entropy(points) - float(logp.mean()),
            "reverse_kl": cross_divergence(true_points(self.classes, self.sigma, len(points)), points),
            "energy": self._energy(points),
            "tv": total_variation(self.truth, points),
            **coverage(self.truth, branch_shares(self.truth, points, self.sigma)),
        }
        if self.classes in LABELS:
            label = exact_classifier(points, self.sigma).argmax(dim=1)
            found["leakage"] = _share(label != LABELS.index(self.classes))
        return found


@cache
def true_points(classes: str, sigma: float, n: int) -> Tensor:
    """So many fixed points of the truth, [n, 2], float64."""
    return ground_truth(classes).sample(n, sigma, torch.Generator().manual_seed(_SEED))


@cache
def low_density(
    truth: GroundTruth, sigma: float, share: float = OUTLIERS, n: int = _TRUE_POINTS, seed: int = _SEED + 1
) -> float:
    """Log-density that this share of true points is below: the quantile of n of them.

    A density is at least the part of the component that the point is from. Points are looked at in the order of that part, and
    none beyond those whose part alone is above the threshold.
    """
    points, component = truth.draw(n, sigma, torch.Generator().manual_seed(seed))
    part, order = part_logp(truth, points, component, sigma).sort()
    rank = int(share * n)
    looked_at = _CANDIDATES * rank
    while True:
        threshold = float(truth.logp(points[order[:looked_at]], sigma).sort().values[rank])
        if looked_at >= n or part[looked_at] > threshold:
            return threshold
        looked_at *= 4


def part_logp(truth: GroundTruth, points: Tensor, component: Tensor, sigma: float) -> Tensor:
    """ln w_k N(x; mu_k, C_k + sigma^2 I) of one component k a point: points [n, 2], components int64 [n] -> [n]."""
    covariance = truth.covariances + sigma**2 * torch.eye(2).to(truth.covariances)
    whiten = torch.linalg.inv(torch.linalg.cholesky(covariance))[component]
    peak = truth.weights.log() - math.log(2 * math.pi) - covariance.logdet() / 2
    gap = whiten @ (points - truth.means[component])[..., None]
    return peak[component] - gap.square().sum(dim=(1, 2)) / 2


def _share(mask: Tensor) -> float:
    return float(mask.double().mean())
