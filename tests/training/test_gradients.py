"""Gradients that are not finite are zeroed and counted; unscaling."""

import pytest
import torch
from torch import nn

from edm2lite.config import TrainingConfig
from edm2lite.training.gradients import mend_gradients_, zero_nonfinite_


def test_zeroed_are_exactly_those_that_are_not_finite():
    a, b = torch.tensor([[1.0, float("nan")], [-3e38, float("-inf")]]), torch.tensor([float("inf"), 0.0, 1e-45])
    count = zero_nonfinite_([a, b, torch.zeros(0, 3)])
    assert count.dtype == torch.int64 and int(count) == 3
    assert a.tolist() == [[1.0, 0.0], [torch.tensor(-3e38).item(), 0.0]] and b.tolist() == [
        0.0,
        0.0,
        torch.tensor(1e-45).item(),
    ]


@pytest.mark.parametrize("repair", ["error", "zero"])
def test_gradients_are_unscaled_and_their_norm_or_count_is_told(repair):
    net = nn.Linear(3, 1)
    net.weight.grad, net.bias.grad = (
        torch.tensor([[6.0, 8.0, float("nan") if repair == "zero" else 0.0]]),
        torch.tensor([24.0]),
    )
    norm, zeroed = mend_gradients_(net, TrainingConfig(loss_scaling=2.0, nonfinite_gradients=repair))
    assert net.weight.grad.tolist() == [[3.0, 4.0, 0.0]] and net.bias.grad.tolist() == [12.0]
    assert (float(norm), int(zeroed)) == ((17.0, 0) if repair == "error" else (0.0, 1))
