"""Under SLURM: that the tasks fit the devices, and going back to the queue. Imports no torch."""

import os
import subprocess
import sys

from edm2lite.config import TrainerConfig
from edm2lite.errors import UserError


def in_batch_job() -> bool:
    """Whether this is a job that SLURM can start again, no interactive shell."""
    return "SLURM_JOB_ID" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")


def under_slurm() -> bool:
    """Whether Lightning will take ranks from SLURM: in a job with tasks that are not torchrun's."""
    return in_batch_job() and "SLURM_NTASKS" in os.environ and "RANK" not in os.environ


def check_tasks(cfg: TrainerConfig) -> None:
    """Raise a UserError unless one process a device was started: otherwise ranks would train apart in silence."""
    env, layout = os.environ, f"trainer.devices x trainer.num_nodes is {cfg.devices} x {cfg.num_nodes}"
    if "RANK" in env and int(env.get("WORLD_SIZE", "1")) != cfg.devices * cfg.num_nodes:
        raise UserError(f"torchrun started {env.get('WORLD_SIZE')} processes, but {layout}; make them agree")
    if not under_slurm():
        return
    tasks, nodes = int(env["SLURM_NTASKS"]), int(env.get("SLURM_NNODES", "1"))
    per_node = int(env.get("SLURM_NTASKS_PER_NODE", tasks if tasks == 1 else 0))
    if (per_node, nodes) != (cfg.devices, cfg.num_nodes):
        raise UserError(
            f"SLURM started {tasks} tasks ({per_node or 'no fixed number'} a node, {nodes} nodes), but {layout}; set "
            "--ntasks-per-node to the devices of a node and --nodes, as slurm/train.sbatch does"
        )
    if tasks > 1 and "SLURM_STEP_ID" not in env:
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
