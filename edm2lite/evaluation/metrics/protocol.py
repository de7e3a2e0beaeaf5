"""Everything about a metric that changes its value and is nobody's choice. Imports no torch."""

from edm2lite.config.metrics import Metric
from edm2lite.evaluation.metrics.uncertainty import GROUPS

KD_SUBSETS, KD_SUBSET_SIZE, KD_SEED = 100, 1000, 2020  # torch-fidelity's
IS_SPLITS, IS_SEED = 10, 2020  # torch-fidelity's
NEIGHBOURS = {  # k: of Kynkaanniemi et al. 2019 and the ADM suite; of Naeem et al. 2020
    "precision": 3,
    "recall": 3,
    "density": 5,
    "coverage": 5,
}


def needs_features(metric: Metric) -> bool:
    """Whether it needs features of the reference, not its mean and covariance alone."""
    return metric.kind in ("kd", "fd_per_class", *NEIGHBOURS)


def needs_labels(metric: Metric) -> bool:
    """Whether it needs the class of every image, generated and reference."""
    return metric.kind == "fd_per_class"


def protocol(metric: Metric) -> dict[str, int | str]:
    """Constants of the metric, for manifests and the keys of ledgers."""
    constants: dict[str, dict[str, int | str]] = {
        "fd": {"covariance": "unbiased"},
        "fd_per_class": {"covariance": "unbiased", "average": "classes of the reference, equal weights"},
        "kd": {"kernel": "(x.y/D + 1)^3", "subsets": KD_SUBSETS, "subset_size": KD_SUBSET_SIZE, "seed": KD_SEED},
        "is": {"splits": IS_SPLITS, "seed": IS_SEED},
    }
    own = {"k": NEIGHBOURS[metric.kind]} if metric.kind in NEIGHBOURS else constants[metric.kind]
    return {**own, "jackknife_groups": GROUPS}
