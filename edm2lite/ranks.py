"""Which of several processes this is, read from the launcher's environment. Imports no torch."""

import os
from dataclasses import dataclass

from edm2lite.errors import UserError


@dataclass(frozen=True)
class Rank:
    """Process `index` of `count`."""

    index: int
    count: int


def rank_from_environment() -> Rank:
    """As torchrun (RANK, WORLD_SIZE), srun, or Lightning's own launcher say; else 0 of 1.

    Lightning's children know LOCAL_RANK, NODE_RANK and WORLD_SIZE alone: on the first machine LOCAL_RANK is the rank. The
    batch shell of a SLURM job is no rank, although SLURM_PROCID and SLURM_NTASKS are set there: only srun makes ranks.
    """
    env = os.environ
    if "RANK" in env and "WORLD_SIZE" in env:
        return Rank(int(env["RANK"]), int(env["WORLD_SIZE"]))
    if "SLURM_STEP_ID" in env and "SLURM_PROCID" in env and env.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        return Rank(int(env["SLURM_PROCID"]), int(env.get("SLURM_STEP_NUM_TASKS", "1")))
    if "LOCAL_RANK" in env and "WORLD_SIZE" in env and env.get("NODE_RANK", "0") == "0":
        return Rank(int(env["LOCAL_RANK"]), int(env["WORLD_SIZE"]))
    return Rank(0, 1)


def is_first_rank() -> bool:
    """Whether this is rank 0, also of processes that Lightning starts, which know LOCAL_RANK and NODE_RANK alone."""
    rank = rank_from_environment()
    if rank.count > 1:
        return rank.index == 0
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK"))


def local_rank() -> int:
    """Index of this process among those of its machine, by which it takes a GPU."""
    env = os.environ
    return int(env.get("LOCAL_RANK", env.get("SLURM_LOCALID", 0) if "SLURM_STEP_ID" in env else 0))


def parse_shard(text: str | None) -> Rank:
    """Rank from "I/N"; None: from the environment.

    Raises:
        UserError: If the text is malformed or I is not in 0 ... N - 1, or the environment does not tell the rank.
    """
    if text is None:
        env = os.environ
        if "LOCAL_RANK" in env and "RANK" not in env and env.get("NODE_RANK", "0") != "0":
            raise UserError(
                f"LOCAL_RANK is {env['LOCAL_RANK']} and NODE_RANK {env['NODE_RANK']}, but RANK is not set, so which seeds are "
                "this process's is unknown; start it by torchrun or srun, or with --shard I/N"
            )
        return rank_from_environment()
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise UserError(f"shard is {text!r}; it must be I/N with I in 0 ... N - 1, for example 3/8")
    return Rank(int(index), int(count))
