"""What multistep solvers share: integrals of the polynomial through the last evaluations, in ln sigma."""

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

# Gauss-Legendre nodes and weights on [-1, 1]: 16 of them are exact to 1e-12 where the noise falls by a factor of e^15 in a step
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


def integrals(
    levels: Sequence[float], start: float, end: float, density: Callable[[np.ndarray], np.ndarray]
) -> list[float]:
    """For each noise level the integral from `start` to `end` of L(ln sigma) density(sigma) dsigma.

    L is the Lagrange polynomial in ln sigma that is 1 at that level and 0 at the others. So sum_m w_m y_m is the integral of
    density times the polynomial through the values y_m, the weights of Adams-Bashforth (levels up to `start`) and
    Adams-Moulton (`end` among them) methods on steps of any lengths.

    Args:
        levels: Where the values are known, all different, positive.
        start, end: Of the step, positive.
        density: Function of noise levels [n] -> [n]; it must be smooth on the step.
    """
    first, last = np.log(start), np.log(end)
    at = first + (last - first) * (_NODES + 1) / 2
    sigma = np.exp(at)
    measure = _WEIGHTS * (last - first) / 2 * sigma * density(sigma)  # dsigma = sigma d ln sigma
    places = np.log(np.asarray(levels))
    return [float((measure * _lagrange(at, places, m)).sum()) for m in range(len(places))]


def _lagrange(at: np.ndarray, places: np.ndarray, m: int) -> np.ndarray:
    """The polynomial that is 1 at places[m] and 0 at the other places."""
    others = np.delete(places, m)
    return np.prod([(at - p) / (places[m] - p) for p in others], axis=0) if len(others) else np.ones_like(at)


def weighted_sum(weights: Sequence[float], values: Sequence[Tensor]) -> Tensor:
    """sum_m w_m y_m of tensors of one shape."""
    total = weights[0] * values[0]
    for weight, value in zip(weights[1:], values[1:], strict=True):
        total = total + weight * value
    return total
