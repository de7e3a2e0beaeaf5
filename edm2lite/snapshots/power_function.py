"""Power-function EMA profiles and post-hoc reconstruction (Karras et al. 2024a, Section 3 and Appendix C).

A profile weighs the weights of time tau by p(tau) ~ tau^gamma on [0, t]; its length is given as the standard deviation
sigma_rel of that density relative to t. Time is nimg, the number of training images seen.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from edm2lite.errors import UserError

SIGMA_REL_MAX = 12**-0.5  # the uniform density, gamma = 0


def sigma_rel_to_gamma(sigma_rel: float) -> float:
    """Exponent of the profile of relative length sigma_rel (2024a, Eq. 126): the largest real root of a cubic.

    Raises:
        UserError: Unless 0 < sigma_rel < 12^-0.5.
    """
    if not 0 < sigma_rel < SIGMA_REL_MAX:
        raise UserError(
            f"EMA length sigma_rel is {float(sigma_rel)}; it must be in (0, {SIGMA_REL_MAX:.4f}), for example 0.05"
        )
    t = float(sigma_rel) ** -2
    roots = np.roots([1, 7, 16 - t, 12 - t])
    return float(roots.real[np.abs(roots.imag) < 1e-9 * np.abs(roots).max()].max())


def power_function_beta(sigma_rel: float, nimg: int, batch_size: int) -> float:
    """Decay of one EMA update that keeps the power-function profile (2024a, Eq. 127).

    Args:
        sigma_rel: Relative length of the profile.
        nimg: Images seen after this step, at least batch_size.
        batch_size: Images in this step.
    """
    if nimg < batch_size:
        raise UserError(f"nimg is {nimg}; counted after the step it must be at least batch_size ({batch_size})")
    return (1 - batch_size / nimg) ** (sigma_rel_to_gamma(sigma_rel) + 1)


def _profile_products(t_a: Any, gamma_a: Any, t_b: Any, gamma_b: Any) -> np.ndarray:
    """Inner products <p_a, p_b> = integral of p_a p_b, broadcasting (2024a, Eq. 144).

    (t_a/t_b)^(gamma_b if t_a < t_b else -gamma_a) (gamma_a+1)(gamma_b+1) / ((gamma_a+gamma_b+1) max(t_a, t_b)).
    """
    t_ratio = t_a / t_b
    t_exp = np.where(t_a < t_b, gamma_b, -gamma_a)
    t_max = np.maximum(t_a, t_b)
    return (gamma_a + 1) * (gamma_b + 1) * t_ratio**t_exp / ((gamma_a + gamma_b + 1) * t_max)


def posthoc_coefficients(
    in_nimg: ArrayLike, in_sigma_rel: ArrayLike, out_nimg: ArrayLike, out_sigma_rel: ArrayLike
) -> np.ndarray:
    """Linear combinations of stored snapshots that come closest to the wanted profiles (2024a, Eqs. 140-148).

    Least squares between profiles, in float64; each column is scaled to sum 1. Snapshots later than the wanted time are
    left out: their coefficient is 0.

    Args:
        in_nimg, in_sigma_rel: Time and relative length of each stored snapshot, [in].
        out_nimg, out_sigma_rel: The same for each wanted profile, [out].

    Returns:
        Coefficients, float64, [in, out].

    Raises:
        UserError: If no snapshot is as early as a wanted time, or a length is out of range.
    """
    t_in, s_in, t_outs, s_outs = (
        np.atleast_1d(np.asarray(x, np.float64)) for x in (in_nimg, in_sigma_rel, out_nimg, out_sigma_rel)
    )
    g_in = np.array([sigma_rel_to_gamma(s) for s in s_in])
    coefficients = np.zeros((len(t_in), len(t_outs)))
    for column, (t_out, sigma_rel) in enumerate(zip(t_outs, s_outs, strict=True)):
        use = t_in <= t_out
        if not use.any():
            raise UserError(f"no snapshot at or before nimg {t_out:.0f}; the earliest stored is {t_in.min():.0f}")
        t, g = t_in[use], g_in[use]
        A = _profile_products(t[:, None], g[:, None], t[None, :], g[None, :])
        x = np.linalg.solve(A, _profile_products(t, g, np.float64(t_out), np.float64(sigma_rel_to_gamma(sigma_rel))))
        coefficients[use, column] = x / x.sum()
    return coefficients
