"""Learning rate against the published schedule."""

import pytest

from edm2lite import learning_rate


def test_published_values(meta):
    assert len(meta["lr"]) > 20
    for case in meta["lr"]:
        rampup = case["rampup_Mimg"] * 10**6
        lr = learning_rate(case["nimg"], case["batch"], case["ref_lr"], case["ref_batches"], rampup)
        assert lr == pytest.approx(case["lr"], rel=1e-6)


def test_no_warm_up_and_no_decay():
    assert learning_rate(0, 128, 0.01, 500, 0) == 0.01
    assert learning_rate(10**12, 128, 0.01, 0, 0) == 0.01
