"""Which process of several this is."""

import os

import pytest

from edm2lite.errors import UserError
from edm2lite.ranks import Rank, is_first_rank, parse_shard, rank_from_environment


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in [n for n in os.environ if n.startswith("SLURM_") or n.endswith("RANK") or n == "WORLD_SIZE"]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("env", "rank"),
    [
        ({}, Rank(0, 1)),
        ({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}, Rank(3, 8)),
        ({"SLURM_STEP_ID": "0", "SLURM_PROCID": "2", "SLURM_STEP_NUM_TASKS": "4", "SLURM_JOB_NAME": "x"}, Rank(2, 4)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_JOB_NAME": "x"}, Rank(0, 1)),  # the batch shell
        ({"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2"}, Rank(1, 2)),  # a child of Lightning's launcher
        ({"WORLD_SIZE": "2"}, Rank(0, 1)),
    ],
)
def test_launchers(env, rank, monkeypatch):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert rank_from_environment() == rank == parse_shard(None)


def test_children_of_lightnings_launcher_are_not_the_first(monkeypatch):
    assert is_first_rank()
    for name in ("LOCAL_RANK", "NODE_RANK"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "1")
            assert not is_first_rank()
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert is_first_rank()


def test_lightnings_children_on_another_machine_do_not_know_their_seeds(monkeypatch):
    for name, value in {"LOCAL_RANK": "1", "NODE_RANK": "1", "WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    assert rank_from_environment() == Rank(0, 1) and not is_first_rank() and parse_shard("3/4") == Rank(3, 4)
    with pytest.raises(UserError, match="RANK is not set"):
        parse_shard(None)


def test_shards():
    assert parse_shard("3/8") == Rank(3, 8)
    for text in ("8/8", "3", "-1/2", "a/b", "1/0", "1/2/3"):
        with pytest.raises(UserError, match="must be I/N"):
            parse_shard(text)
