"""Batch jobs: what to ask SLURM for, and handing jobs that wait for each other to sbatch. Imports no torch.

The site's settings come from slurm/site.sh through the environment; slurm/submit.sh and submit_table.sh read it first.
"""

import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edm2lite.errors import UserError

TASK = "{task}"  # in an argument of an array's jobs: the index of the task


@dataclass(frozen=True, kw_only=True)
class Job:
    """One job, or an array of them.

    Attributes:
        name: Names it in the queue, and to the jobs that wait for it.
        kind: "train", "sample" or "evaluate": its script, and which of the site's options it takes.
        arguments: Of the script.
        gpus: GPUs a node; 0: none.
        nodes: Nodes.
        tasks: Processes a node.
        array: Jobs of the array; None: a single job.
        after: Names of jobs that must have ended well.
        once: If such a job of this working directory is in the queue already, take that one.
    """

    name: str
    kind: str
    arguments: tuple[str, ...]
    gpus: int = 1
    nodes: int = 1
    tasks: int = 1
    array: int | None = None
    after: tuple[str, ...] = ()
    once: bool = False


def submit(jobs: Sequence[Job], dry_run: bool = False) -> None:
    """Hand jobs to sbatch in this order and print their ids; or print the commands, with <NAME> for an id.

    Raises:
        UserError: If sbatch refuses one; says which jobs are in the queue by then.
    """
    ids: dict[str, str] = {}
    for job in jobs:
        command = sbatch_command(job, [ids[name] for name in job.after])
        if dry_run:
            ids[job.name] = f"<{job.name}>"
            print(shlex.join(command))
            continue
        queued = _queued(job.name) if job.once else None
        ids[job.name] = queued or _sbatch(job, command, list(ids.values()))
        print(f"{ids[job.name]}  {job.name}{' (was in the queue already)' if queued else ''}", flush=True)


def sbatch_command(job: Job, after: Sequence[str]) -> list[str]:
    """The sbatch command of a job that waits for the jobs with these ids."""
    gres, lead = _site("GRES"), _site("LEAD")
    batch_shell = "" if job.kind == "train" else "B:"  # train.py handles the signal itself
    numbers = "%j" if job.array is None else "%A_%a"
    log = re.sub(r"[^-.\w]+", "-", job.name) + f"_{numbers}.out"
    options = [
        f"--job-name={job.name}",
        f"--output={Path(_site('LOGS'), log)}",
        f"--nodes={job.nodes}",
        f"--ntasks-per-node={job.tasks}",
        f"--gres={gres}:{job.gpus}" if job.gpus and gres != "none" else "--gres=none",
        f"--signal={batch_shell}USR1@{lead}",
        *shlex.split(_site("SBATCH")),
        *shlex.split(_site(f"{job.kind.upper()}_SBATCH")),
    ]
    if job.array is not None:
        at_once = f"%{_site('AT_ONCE')}" if _site("AT_ONCE") else ""
        options.append(f"--array=0-{job.array - 1}{at_once}")
    if after:
        options += [f"--dependency=afterok:{':'.join(after)}", "--kill-on-invalid-dep=yes"]
    return ["sbatch", "--parsable", *options, str(Path(_site("SLURM"), f"{job.kind}.sbatch")), *job.arguments]


def _site(name: str) -> str:
    try:
        return os.environ[f"EDM2LITE_{name}"]
    except KeyError:
        raise UserError(
            f"EDM2LITE_{name} is not set; use slurm/submit.sh or slurm/submit_table.sh, which read slurm/site.sh"
        ) from None


def _sbatch(job: Job, command: list[str], submitted: list[str]) -> str:
    """Submit; returns the job id."""
    Path(_site("LOGS")).mkdir(parents=True, exist_ok=True)
    done = _run(command)
    if done.returncode:
        before = f"; submitted before: {' '.join(submitted)} (undo with scancel)" if submitted else ""
        reason = " ".join(done.stderr.split()).removeprefix("sbatch: error: ")
        raise UserError(f"sbatch refused {job.name} ({reason}); see slurm/site.sh{before}")
    return done.stdout.strip().split(";")[0]  # with several clusters: id;cluster


def _queued(name: str) -> str | None:
    """Id of this user's job with a name, submitted from this directory, that has not ended; None: there is none."""
    lines = _run(["squeue", "--noheader", "--me", f"--name={name}", "--format=%A %Z"]).stdout.splitlines()
    return next((line.split(" ", 1)[0] for line in lines if line.split(" ", 1)[1].strip() == os.getcwd()), None)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError(f"{command[0]} is not here; submit on a login node of the cluster, or see --dry-run") from None
