"""What ranks tell each other: read one step later, and nothing in a step waits for the device."""

from contextlib import ExitStack
from dataclasses import replace

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from edm2lite.config import LoggingConfig, Nimg
from edm2lite.training import outcomes
from edm2lite.training.fit import fit
from edm2lite.training.module import EDM2Module
from edm2lite.training.outcomes import NonFiniteError, Outcome, Outcomes
from tests.training.test_strategies import BATCH, config


def test_steps_are_read_in_order_but_the_last():
    there = Outcomes(0, 1, torch.device("cpu"))
    for step in range(3):
        there.send(step, 16 * step, *(torch.tensor(float(n + step)) for n in (1, 2, 3)), signum=15 * (step == 1))
    expected = [Outcome(step, 16 * step, [1.0 + step], [2.0 + step], [3 + step], 15 * (step == 1)) for step in range(3)]
    assert list(there.read(leave=1)) == expected[:2]
    assert list(there.read(leave=1)) == []
    assert list(there.read()) == expected[2:]


def test_counts_are_exact():
    there, count = Outcomes(0, 1, torch.device("cpu")), 2**40 + 1
    there.send(0, 0, torch.ones(()), torch.ones(()), torch.tensor(count), 0)
    assert next(there.read()).zeroed == [count]


def test_what_is_not_finite_is_named_with_its_rank():
    inf, nan = float("inf"), float("nan")
    Outcome(3, 48, [1.0, 2.0], [1.0, 1.0], [0, 0], 15).check_finite()
    with pytest.raises(
        NonFiniteError, match=r"loss not finite at step 3 \(nimg 48\) on rank 1 \(nan\), 3 \(inf\); nothing"
    ):
        Outcome(3, 48, [1.0, nan, 2.0, inf], [inf] * 4, [0] * 4, 0).check_finite()
    with pytest.raises(NonFiniteError, match=r"gradients not finite at step 3 \(nimg 48\) on rank 0 \(inf\);"):
        Outcome(3, 48, [1.0, 2.0], [inf, 1.0], [0, 0], 0).check_finite()


class Waits(TorchFunctionMode):
    """Counts what brings a number from a tensor to Python, for which a GPU would have to be waited for."""

    NAMES = (
        "item",
        "tolist",
        "__bool__",
        "__float__",
        "__int__",
        "__index__",
        "__contains__",
        "cpu",
        "numpy",
        "nonzero",
    )

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.count += getattr(func, "__name__", "") in self.NAMES
        return func(*args, **(kwargs or {}))


class Scalars(TorchDispatchMode):
    """The same, from within operations."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("nonfinite", ["zero", pytest.param("error", marks=pytest.mark.slow)])
def test_a_step_in_which_nothing_is_written_waits_for_nothing(nonfinite, tmp_path, monkeypatch, capsys):
    """Hooks of all callbacks included. Snapshots come after steps 3, 6, 9, checkpoints after 5 and 9, the log after 7 and 9."""
    read, waits, begun = [], [], ExitStack()

    def enter(module, *args):
        modes.extend([begun.enter_context(Waits()), begun.enter_context(Scalars())])

    def leave(module, *args):
        begun.close()
        waits.append(sum(mode.count for mode in modes))
        modes.clear()

    def sum_later(values):
        sent, numbers = len(waits) + 1, values.detach().numpy().copy()
        return lambda: read.append((sent, len(waits) + 1)) or numbers.tolist()

    modes: list = []
    monkeypatch.setattr(outcomes, "sum_later", sum_later)
    monkeypatch.setattr(EDM2Module, "on_train_batch_start", enter, raising=False)
    monkeypatch.setattr(EDM2Module, "on_train_batch_end", leave, raising=False)
    changes = {"snapshot_nimg": Nimg(3 * BATCH), "checkpoint_nimg": Nimg(5 * BATCH), "nonfinite_gradients": nonfinite}
    cfg = config(tmp_path / "run", "one", 9 * BATCH, loss_scaling=2.0, batch_per_device=8, **changes)
    assert fit(replace(cfg, logging=LoggingConfig(every_nimg=Nimg(7 * BATCH)))) == 0
    assert read == [(1, 2), (2, 3), (3, 3), (4, 5), (5, 5), (6, 6), (7, 7), (8, 9), (9, 9)], "(step, when it is read)"
    assert [step for step, count in enumerate(waits, 1) if count > 1] == [
        3,
        5,
        6,
        7,
        9,
    ]  # one is the stand-in's numpy()
