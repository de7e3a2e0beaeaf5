"""Several processes on one machine that share the seeds of one command. Imports no torch."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from edm2lite.config import MetricsConfig, RefConfig, SampleConfig, SweepConfig, TableConfig
from edm2lite.errors import UserError
from edm2lite.ranks import rank_from_environment

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def check_devices(cfg: SampleConfig | RefConfig | MetricsConfig | TableConfig | SweepConfig) -> None:
    """Raise a UserError unless `devices` processes can be started, each with a device of its own."""
    count = rank_from_environment().count
    if cfg.devices > 1 and count > 1:
        raise UserError(f"devices is {cfg.devices}, but this is one of {count} processes already; leave --devices out")
    if cfg.devices > 1 and ":" in cfg.device:
        raise UserError(
            f"devices is {cfg.devices} and device {cfg.device} is one; leave --device out, and each process takes its own"
        )


def same_command() -> list[str]:
    """The command that started this process, for one that is to be a rank of several."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    program = ["-m", spec.name] if spec is not None else [os.path.abspath(sys.argv[0])]
    return [sys.executable, *program, *sys.argv[1:], "--devices=1"]


def launch(command: Sequence[str], count: int) -> int:
    """Run a command `count` times at once, as ranks of one another, and wait for all.

    One that dies costs only its own remainder: the others go on. SIGTERM and Ctrl-C end them all.

    Returns:
        Exit status: 0, or 143 after SIGTERM.

    Raises:
        UserError: If a process ended early; says which. The same command makes what they lack.
        KeyboardInterrupt: After Ctrl-C, when all have ended.
    """
    with _stopping() as (children, stopped):
        for index in range(count):
            rank = {"RANK": index, "WORLD_SIZE": count, "LOCAL_RANK": index, "LOCAL_WORLD_SIZE": count}
            env = os.environ | {name: str(value) for name, value in rank.items()}
            # a process group of its own: Ctrl-C comes through the parent, once and without a message from each
            children.append(subprocess.Popen(command, env=env, process_group=0))
        if stopped:
            _end(children)  # also those that were being started when the signal came
        codes = [child.wait() for child in children]
    if signal.SIGINT in stopped:
        raise KeyboardInterrupt
    if stopped:
        return 128 + signal.SIGTERM
    if any(codes):
        failed = ", ".join(f"process {i}: {_cause(code)}" for i, code in enumerate(codes) if code)
        number = sum(code != 0 for code in codes)
        raise UserError(f"{number} of {count} processes ended early ({failed}); run the same command again to go on")
    return 0


@contextmanager
def _stopping() -> Iterator[tuple[list[subprocess.Popen], list[int]]]:
    """Children that are ended by a signal to this process, and by its end; and the signals that came."""
    children: list[subprocess.Popen] = []
    stopped: list[int] = []

    def stop(signum: int, frame: FrameType | None) -> None:
        stopped.append(signum)
        _end(children)

    before = {signum: signal.signal(signum, stop) for signum in _SIGNALS}
    try:
        yield children, stopped
    finally:
        _end(children)
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _end(children: list[subprocess.Popen]) -> None:
    for child in children:
        child.terminate()  # does nothing to one that has ended


def _cause(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"status {code}"
