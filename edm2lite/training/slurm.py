"""Under SLURM: that the tasks fit the devices, and going back to the queue. Imports no torch."""

import os
import subprocess
import sys

from edm2lite.config import TrainerConfig
from edm2lite.errors import UserError


def under_slurm() -> bool:
    """Whether Lightning will take ranks from SLURM: in a job with tasks that is no interactive shell."""
    return "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")


def check_tasks(cfg: TrainerConfig) -> None:
    """Raise a UserError unless there is one srun task a device: otherwise ranks would train apart in silence."""
    if not under_slurm():
        return
    tasks, ranks = int(os.environ["SLURM_NTASKS"]), cfg.devices * cfg.num_nodes
    if tasks != ranks:
        raise UserError(
            f"SLURM started {tasks} tasks, but trainer.devices x trainer.num_nodes is {cfg.devices} x {cfg.num_nodes}; set "
            "--ntasks-per-node to the devices of a node, as slurm/train.sbatch does"
        )
    if tasks > 1 and "SLURM_STEP_ID" not in os.environ:
        raise UserError(
            f"a job of {tasks} tasks was started without srun; use srun python train.py ..., as slurm/train.sbatch"
        )


def requeue() -> None:
    """Ask SLURM to start this job (or this task of an array) again; it then goes on from the checkpoint.

    At most $EDM2LITE_MAX_REQUEUES times (default 1000), lest a job that can do nothing runs for ever.
    """
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array else os.environ["SLURM_JOB_ID"]
    restarts, most = (
        int(os.environ.get("SLURM_RESTART_COUNT", "0")),
        int(os.environ.get("EDM2LITE_MAX_REQUEUES", "1000")),
    )
    if restarts >= most:
        raise UserError(
            f"job {job} was requeued {restarts} times already (EDM2LITE_MAX_REQUEUES); submit it again to go on"
        )
    done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"scontrol requeue {job} failed ({done.stderr.strip()}); submit the job again to go on")
    print(f"job {job} is back in the queue", file=sys.stderr)
