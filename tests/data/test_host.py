"""Copies to the CPU's memory."""

import torch

from edm2lite.data.host import to_host


def test_what_is_on_the_cpu_is_not_copied():
    tensors = [torch.arange(3), torch.zeros(2, 2, dtype=torch.uint8)]
    assert all(a is b for a, b in zip(to_host(*tensors)(), tensors, strict=True)) and to_host()() == []
