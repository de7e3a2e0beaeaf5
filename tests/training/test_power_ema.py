"""EMA tracking: closed forms of the power-function profile."""

import numpy as np
import pytest
import torch
from torch import nn

from edm2lite.snapshots.power_function import sigma_rel_to_gamma
from edm2lite.training.power_ema import PowerEMA


class Scalar(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1, dtype=torch.float64))


def test_the_first_update_copies():
    net = Scalar()
    ema = PowerEMA(net, [0.05, 0.2])
    net.w.data.fill_(3)
    ema.update(16, 16)
    assert float(ema.named_average(0.05)["w"]) == 3 == float(ema.named_average(0.2)["w"])


@pytest.mark.parametrize("sigma_rel", [0.05, 0.1, 0.25])
def test_mean_time_and_width_of_the_profile(sigma_rel):
    """Averaging the time itself gives the profile's mean, (gamma+1)/(gamma+2) t; of its square, the relative width."""
    gamma, n = sigma_rel_to_gamma(sigma_rel), 20000
    net = Scalar()
    net.w = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    ema = PowerEMA(net, [sigma_rel])
    for step in range(1, n + 1):
        t = step / n
        net.w.data.copy_(torch.tensor([t, t * t]))
        ema.update(step, 1)
    mean, square = ema.named_average(sigma_rel)["w"].tolist()
    assert mean == pytest.approx((gamma + 1) / (gamma + 2), rel=1e-3)
    assert np.sqrt(square - mean**2) == pytest.approx(sigma_rel, rel=1e-2)


def test_the_network_is_left_alone():
    net = nn.Linear(3, 4)
    ema = PowerEMA(net, [0.05, 0.1])
    before = net.weight.clone()
    for nimg in range(1, 9):
        net.weight.data.add_(0.1)
        ema.update(nimg, 1)
    torch.testing.assert_close(net.weight.data, before + 0.8)
    assert (ema.named_average(0.1)["weight"] < ema.named_average(0.05)["weight"]).all()
