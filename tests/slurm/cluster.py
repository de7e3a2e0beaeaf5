"""A real SLURM of two nodes for the tests: submit, wait with a deadline, and show its logs when something fails."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import ROOT

SLURM = ROOT / "slurm"
PYTHON = sys.executable
_ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE", "BOOT_FAIL"}


def submit(script, *arguments, cwd, **env):
    """Run one of the submit scripts."""
    environment = {**os.environ, "EDM2LITE_PYTHON": PYTHON, **env}
    command = [SLURM / script, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60)


class Cluster:
    """The cluster that slurm/local/start.sh put in a folder.

    Args:
        root: The folder.
        exports: What start.sh printed.
    """

    def __init__(self, root: Path, exports: str):
        self.root = root
        self.env = dict(re.findall(r"(\w+)=(\S+)", exports))

    def run(self, *command: object, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(part) for part in command], cwd=cwd, env={**os.environ, **self.env, **env}, capture_output=True,
            text=True, timeout=60,
        )  # fmt: skip

    def sbatch(self, *command: object, cwd: Path, **env: str) -> str:
        """Submit; returns the job id."""
        done = self.run("sbatch", "--parsable", "--gres=none", *command, cwd=cwd, **env)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def show(self, job: str) -> list[dict[str, str]]:
        """What SLURM knows of a job, or of all jobs of an array."""
        done = self.run("scontrol", "show", "job", "--oneliner", job)
        assert done.returncode == 0 and done.stdout, self.report(f"scontrol show job {job}: {done.stderr}")
        return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in done.stdout.splitlines()]

    def wait(self, job: str, timeout: float, state: str = "COMPLETED") -> dict[str, str]:
        """Wait until a job (all of an array) has ended; it must be in this state."""
        jobs: list[dict[str, str]] = []

        def ended() -> bool:
            jobs[:] = self.show(job)
            return all(j["JobState"] in _ENDED for j in jobs)

        self.wait_for(ended, f"the end of job {job}", timeout)
        assert {j["JobState"] for j in jobs} == {state}, self.report(f"job {job} ended as {jobs}")
        return jobs[0]

    def wait_for(self, condition: Callable[[], bool], what: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, self.report(f"waited {timeout} s in vain for {what}")
            time.sleep(0.1)

    def start_soon(self, job: str) -> None:
        """Spare a requeued job most of its 6 seconds in the queue; in the second it was stopped in, it must not start."""
        self.run("scontrol", "update", f"JobId={job}", "StartTime=now+2")

    def report(self, what: str) -> str:
        """What happened, the queue, and the ends of all logs."""
        logs = sorted([*self.root.glob("log/*"), *self.root.parent.rglob("*.out")])
        ends = [f"--- {log}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-40:]) for log in logs]
        return "\n".join([what, self.run("squeue").stdout, *ends])
