"""Full precision inside, the settings of the program around it outside."""

import pytest
import torch

from edm2lite.evaluation.detectors.precision import full_precision


@pytest.fixture
def backends():
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    yield backends
    for backend, allowed in zip(backends, before, strict=True):
        backend.allow_tf32 = allowed


@pytest.mark.parametrize("allowed", [True, False])
def test_no_tf32_inside_and_as_before_outside(backends, allowed):
    for backend in backends:
        backend.allow_tf32 = allowed
    with pytest.raises(KeyError), full_precision(torch.device("cpu")):
        assert not any(backend.allow_tf32 for backend in backends)
        raise KeyError
    assert [backend.allow_tf32 for backend in backends] == [allowed, allowed]


def test_no_autocast_inside():
    with torch.autocast("cpu", torch.bfloat16):
        with full_precision(torch.device("cpu")):
            assert (torch.eye(2) @ torch.eye(2)).dtype == torch.float32
        assert (torch.eye(2) @ torch.eye(2)).dtype == torch.bfloat16
