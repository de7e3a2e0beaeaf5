"""Compiled training: the numbers of eager training to rounding, in every layout, and resumed its own to the bit."""

import csv
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from edm2lite.errors import UserError
from edm2lite.training.fit import fit
from tests.training.runs import final_state, largest_difference
from tests.training.test_strategies import BATCH, HALF, config, launch

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
LONG = 200 * BATCH
SMALL = {"levels": 1}  # up and down are compiled for sampling, in tests/network
COMPILED = SMALL | {"compile": True, "batch_per_device": 8}  # which is all of a rank's share: the same code again
RUNS: dict[str, tuple[str, int, dict[str, Any]]] = {  # strategy, images, changes of the recipe
    "eager": ("one", LONG, SMALL),
    "compiled": ("one", LONG, COMPILED),
    "short": ("one", HALF, COMPILED),
    "ddp": ("ddp", HALF, COMPILED),
    "fsdp": ("fsdp", HALF, COMPILED | {"batch_per_device": 4}),  # recomputes, too
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("compile")
    launch([(root / name, *run) for name, run in RUNS.items()])
    return {name: root / name for name in RUNS}


def losses(run_dir: Path) -> torch.Tensor:
    with open(run_dir / "metrics.csv") as f:
        return torch.tensor([float(row["loss"]) for row in csv.DictReader(f)], dtype=torch.float64)


def test_loss_curves_of_compiled_and_eager_training_agree_for_200_steps(runs):
    eager, compiled = losses(runs["eager"]), losses(runs["compiled"])
    assert len(eager) == len(compiled) == 200 and eager[:10].mean() > eager[-10:].mean()
    assert (eager - compiled).abs().max() <= 1e-4


@pytest.mark.parametrize("name", [name for name, (_, total, _) in RUNS.items() if total == HALF and name != "short"])
def test_every_layout_trains_the_weights_of_one_process(name, runs):
    ours, alone = (final_state(runs[n], HALF) for n in (name, "short"))
    assert ours.keys() == alone.keys() and largest_difference(ours, alone) <= 1e-5


def test_resumed_it_is_the_uninterrupted_one_to_the_bit_and_stays_compiled(runs, tmp_path):
    shutil.copytree(runs["short"], tmp_path / "run")
    with pytest.raises(UserError, match=r"training.compile = True, but this command sets False"):
        fit(config(tmp_path / "run", "one", 2 * HALF, **COMPILED | {"compile": False}))
    torch.compiler.reset()
    for name in ("run", "whole"):
        assert fit(config(tmp_path / name, "one", 2 * HALF, **COMPILED)) == 0
    ours, whole = (final_state(tmp_path / name, 2 * HALF) for name in ("run", "whole"))
    assert largest_difference(ours, whole) == 0
