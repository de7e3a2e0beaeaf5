"""What ranks do together, where no other test sees it."""

import subprocess
import sys

import lightning as L
import pytest
from torch import distributed

from edm2lite.training.fit import fit
from tests.training.test_strategies import config

END = """
import atexit
from pathlib import Path
import torch
from torch import distributed
import edm2lite.training.together

def workers():
    return sum("gloo" in path.read_text() for path in Path("/proc/self/task").glob("*/comm"))

distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
distributed.all_reduce(torch.zeros(1), async_op=True)  # nobody waits for it
before = workers()
atexit._run_exitfuncs()
print(before > 0, distributed.is_initialized(), workers())
"""


def test_a_process_ends_its_threads_of_gloo_before_the_interpreter():
    """Else they can abort it (exit status -6), when they hold a tensor for longer than Python lives."""
    done = subprocess.run([sys.executable, "-c", END], capture_output=True, text=True, timeout=100)
    assert done.stdout.split() == ["True", "False", "0"], done.stderr


@pytest.mark.parametrize(("backend", "aborted"), [("nccl", 1), ("gloo", 0)])
def test_a_rank_that_fails_waits_for_no_other(backend, aborted, tmp_path, monkeypatch):
    calls = []

    def fail(trainer, *args, **kwargs):
        monkeypatch.setattr(distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(distributed, "get_backend", lambda: backend)
        raise ValueError("a bug")

    monkeypatch.setattr(distributed.distributed_c10d, "_abort_process_group", lambda: calls.append(1))
    monkeypatch.setattr(L.Trainer, "fit", fail)
    with pytest.raises(ValueError, match="a bug"):
        fit(config(tmp_path / "run", "one", 160))
    assert len(calls) == aborted
