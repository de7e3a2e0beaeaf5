"""Where there is no CUDA: nothing mixes devices and no host waits for a number, seen on tensors that only say they are there.

PyTorch's fake tensors have device, dtype and shape, but no values: to read one, or to compute with a tensor of another device,
is an error. What a device really computes is for tests/test_gpu.py to see.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    FakeTensor,
    FakeTensorMode,
    unset_fake_temporarily,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from edm2lite.config import (
    GuideConfig,
    ModelRef,
    NetworkConfig,
    SamplerConfig,
    TrainingConfig,
)
from edm2lite.config.sampling import SOLVERS
from edm2lite.data.positions import Batch
from edm2lite.network.classifier import Classifier, Network
from edm2lite.network.denoiser import Denoiser
from edm2lite.network.layers import normalize_weights_
from edm2lite.sampling.pair import Pair
from edm2lite.sampling.seeded import seeded_noise
from edm2lite.sampling.solve import solve
from edm2lite.snapshots.files import SnapshotInfo
from edm2lite.snapshots.load import LoadedModel
from edm2lite.training.gradients import mend_gradients_
from edm2lite.training.power_ema import PowerEMA
from edm2lite.training.prepare import make_optimizer, prepare, training_values

pytestmark = pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
CUDA = torch.device("cuda")
NETWORK = NetworkConfig(
    model_channels=8, channel_mult=(1, 2), num_blocks=1, attn_resolutions=(4,), channels_per_head=8, dropout=0.1
)
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


class RealCPU(TorchDispatchMode):
    """On top of a fake mode: what concerns the CPU alone is real."""

    def __torch_dispatch__(self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if any(
            isinstance(x, FakeTensor) or (isinstance(x, torch.device) and x.type == "cuda")
            for x in tree_leaves((args, kwargs))
        ):
            return func(*args, **kwargs)
        with unset_fake_temporarily():
            return func(*args, **kwargs)


@pytest.fixture(autouse=True)
def fake_cuda(monkeypatch):
    monkeypatch.setattr(nn.Module, "to", lambda module, *args, **kwargs: module)  # it cannot swap fake parameters
    monkeypatch.setattr(FakeTensorMode, "__deepcopy__", lambda mode, memo: mode, raising=False)
    with FakeTensorMode(allow_non_fake_inputs=True), RealCPU():
        yield


def make(kind: type[Network]) -> Network:
    with CUDA:
        return kind(8, 3, 10, NETWORK)


def test_what_would_be_wrong_there_is_an_error_here():
    x = torch.zeros(4, device=CUDA)
    assert x.device.type == (x * torch.tensor(2.0)).device.type == "cuda"
    with pytest.raises(RuntimeError, match="device"):
        x + torch.zeros(4)
    with pytest.raises(DataDependentOutputException):
        x.sum().item()
    assert torch.zeros(4).sum().item() == 0


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("optimized", [False, True])
def test_denoiser(optimized, precision):
    net = make(Denoiser).requires_grad_(False)
    net.compute_dtype = PRECISIONS[precision]
    if optimized:
        net = net.optimize(compile=False)
    x, labels = torch.zeros(4, 3, 8, 8, device=CUDA), torch.arange(4, device=CUDA)
    for sigma in (0.5, torch.tensor(0.5), torch.ones(4, device=CUDA)):
        out = net(x, sigma, labels)
        assert (out.device.type, out.dtype, out.shape) == ("cuda", torch.float32, x.shape)


@pytest.mark.parametrize("solver", SOLVERS)
def test_guided_sampling(solver):
    info = SnapshotInfo(img_resolution=8, img_channels=3, label_dim=10, network=NETWORK, encoder={"name": "rgb"})
    main, guide = (LoadedModel(make(Denoiser).requires_grad_(False), info, Path(name)) for name in ("main", "guide"))
    degraded = GuideConfig(path="guide", weight=1.5, dropout=0.2, input_noise=0.1)
    pair = Pair(main, ModelRef(path="main", dropout=0.1), guides=((guide, degraded),))
    sampler = SamplerConfig(solver=solver, num_steps=6, S_churn=10.0 if solver in ("heun", "euler") else 0.0)
    noise, labels = seeded_noise([1, 2, 3], pair.shape, pair.label_dim, device=CUDA)
    out = solve(sampler, pair.denoiser([1, 2, 3], sampler), noise, labels=labels)
    assert out.device.type == "cuda" and out.shape == (3, 3, 8, 8)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("nonfinite", ["error", "zero"])
@pytest.mark.parametrize("kind", [Denoiser, Classifier])
def test_training(kind, nonfinite, precision):
    """But for the backward pass, which asks the driver."""
    cfg = TrainingConfig(
        batch_size=4, precision=precision, nonfinite_gradients=nonfinite, activation_checkpointing=nonfinite == "zero"
    )
    net = make(kind)
    prepare(net, cfg, CUDA)
    optimizer, ema = make_optimizer(net, cfg), PowerEMA(net, cfg.ema_sigma_rel)
    images, numbers = torch.zeros(2, 4, 3, 8, 8, device=CUDA), torch.arange(4, device=CUDA)
    values = training_values(net, cfg, sharded=False)(
        net, Batch(images[0], numbers, numbers.float(), images[1], numbers), cfg
    )
    assert all(value.device.type == "cuda" for value in values.values())
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    told: tuple[Tensor, Tensor] = mend_gradients_(net, cfg)
    optimizer.step()
    ema.update(4, 4)
    normalize_weights_(net)
    assert all(number.device.type == "cuda" for number in told)
