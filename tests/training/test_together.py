"""What ranks do together, where no other test sees it."""

import subprocess
import sys

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
