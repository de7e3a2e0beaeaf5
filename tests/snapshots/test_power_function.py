"""Power-function profiles against the published numbers and their own definitions."""

import numpy as np
import pytest

from edm2lite import posthoc_coefficients, power_function_beta, sigma_rel_to_gamma
from edm2lite.errors import UserError


def test_published_gammas_betas_and_coefficients(meta):
    for case in meta["ema_exp"]:
        assert sigma_rel_to_gamma(case["sigma_rel"]) == pytest.approx(case["gamma"], rel=1e-6)
    for case in meta["ema_beta"]:
        beta = power_function_beta(case["sigma_rel"], case["nimg"], case["batch"])
        assert beta == pytest.approx(case["beta"], rel=1e-6)
    p = meta["posthoc"]
    ours = posthoc_coefficients(p["in_nimg"], p["in_sigma_rel"], p["out_nimg"], p["out_sigma_rel"])
    np.testing.assert_allclose(ours, p["coefficients_in_by_out"], atol=1e-5)


@pytest.mark.parametrize("sigma_rel", [0.01, 0.05, 0.1, 0.2, 0.28])
def test_gamma_inverts_the_definition(sigma_rel):
    g = sigma_rel_to_gamma(sigma_rel)
    assert np.sqrt((g + 1) / ((g + 2) ** 2 * (g + 3))) == pytest.approx(sigma_rel, rel=1e-9)


@pytest.mark.parametrize("sigma_rel", [0, -0.1, 0.3, float("nan")])
def test_impossible_lengths_are_refused(sigma_rel):
    with pytest.raises(UserError, match="sigma_rel"):
        sigma_rel_to_gamma(sigma_rel)


def test_a_stored_profile_is_itself_and_later_snapshots_have_no_part():
    times, lengths = np.repeat([1.0, 2.0, 3.0, 4.0], 2), [0.05, 0.1] * 4
    x = posthoc_coefficients(times, lengths, [2.0, 3.0], [0.1, 0.07])
    np.testing.assert_allclose(x[:, 0], [0, 0, 0, 1, 0, 0, 0, 0], atol=1e-9)
    assert (x[6:, 1] == 0).all() and x[:6, 1].all()
    np.testing.assert_allclose(x.sum(axis=0), 1)


def test_nothing_early_enough_is_an_error():
    with pytest.raises(UserError, match="no snapshot at or before"):
        posthoc_coefficients([2.0], [0.05], [1.0], [0.05])


def test_reconstruction_comes_close_to_a_directly_tracked_profile():
    """Track sigma_rel = 0.08 of a random walk beside 0.05 and 0.10, then rebuild it from their snapshots."""
    rng, steps, every = np.random.default_rng(0), 2000, 125
    theta = np.zeros(50)
    tracked = {s: np.zeros(50) for s in (0.05, 0.10, 0.08)}
    snapshots, times, lengths = [], [], []
    for step in range(1, steps + 1):
        theta = theta + rng.normal(size=50) / np.sqrt(step)
        for s, average in tracked.items():
            beta = power_function_beta(s, step, 1)
            tracked[s] = beta * average + (1 - beta) * theta
        if step % every == 0:
            for s in (0.05, 0.10):
                snapshots.append(tracked[s])
                times.append(step)
                lengths.append(s)
    x = posthoc_coefficients(times, lengths, [steps], [0.08])[:, 0]
    rebuilt = x @ np.array(snapshots)
    apart = np.linalg.norm(tracked[0.05] - tracked[0.10])
    assert np.linalg.norm(rebuilt - tracked[0.08]) < 0.01 * apart
