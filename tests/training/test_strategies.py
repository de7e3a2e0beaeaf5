"""One process, DDP and FSDP2 train the same weights, and a checkpoint of each resumes as each other.

The two-rank runs share one launch of two processes, because starting Lightning takes longer than all of them.
"""

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edm2lite.config import DataConfig, LoggingConfig, NetworkConfig, Nimg, TrainConfig, TrainerConfig, TrainingConfig
from tests.conftest import ROOT
from tests.training.runs import final_state, largest_difference

HALF, TOTAL, BATCH = 160, 320, 16  # 10 and 20 steps
STRATEGIES = ("one", "ddp", "fsdp")


def config(
    run_dir: Path, strategy: str, total: int, task: str = "denoiser", levels: int = 2, **changes: Any
) -> TrainConfig:
    """The run with one strategy; the sharded one splits its micro-batches and recomputes activations, too.

    The network attends at the last of its `levels`; `changes` are of the recipe.
    """
    mult, attn = tuple(range(1, levels + 1)), (16 >> levels,)
    network = NetworkConfig(
        model_channels=8, channel_mult=mult, num_blocks=1, attn_resolutions=attn, channels_per_head=8, dropout=0.1
    )
    sharded = strategy == "fsdp"
    recipe: dict[str, Any] = {
        "batch_size": BATCH, "total_nimg": Nimg(total), "rampup_nimg": Nimg(3200), "snapshot_nimg": Nimg(HALF),
        "checkpoint_nimg": Nimg(HALF), "batch_per_device": 3 if sharded else None, "activation_checkpointing": sharded,
    }  # fmt: skip
    training = TrainingConfig(**recipe | changes)
    trainer = TrainerConfig(
        accelerator="cpu", devices=1 if strategy == "one" else 2, strategy="auto" if strategy == "one" else strategy
    )
    return TrainConfig(
        run_dir=str(run_dir), task=task, data=DataConfig(name="digits"), network=network, training=training, trainer=trainer,
        logging=LoggingConfig(every_nimg=Nimg(BATCH), progress_bar=False),
    )  # fmt: skip


def launch(jobs: list[tuple[Path, str, int, dict[str, Any]]]) -> None:
    """Fit the jobs one after the other: those of one process each here, the others in two ranks."""
    from edm2lite.training.fit import fit

    for run_dir, strategy, total, changes in jobs:
        if strategy == "one":
            assert fit(config(run_dir, strategy, total, **changes)) == 0
    two = json.dumps([(str(run_dir), *job) for run_dir, *job in jobs if job[0] != "one"])
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m", __name__, two],
        cwd=ROOT, capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[tuple[str, str], Path]:
    """Run directories by (strategy of the first ten steps, of the last ten); classifiers by ("classifier", strategy)."""
    root = tmp_path_factory.mktemp("strategies")
    launch([(root / strategy, strategy, HALF, {}) for strategy in STRATEGIES])
    directories = {pair: root / "-".join(pair) for pair in itertools.product(STRATEGIES, repeat=2)}
    for (first, _), directory in directories.items():
        shutil.copytree(root / first, directory)
    classifiers = {("classifier", strategy): root / f"classifier-{strategy}" for strategy in STRATEGIES}
    launch(
        [(directory, second, TOTAL, {}) for (_, second), directory in directories.items()]
        + [(directory, strategy, TOTAL, {"task": "classifier"}) for (_, strategy), directory in classifiers.items()]
    )
    return directories | classifiers


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), itertools.product(STRATEGIES, repeat=2))
def test_every_strategy_and_every_change_of_strategy_ends_with_the_same_weights(first, second, runs):
    ours, alone = (final_state(runs[pair], TOTAL) for pair in ((first, second), ("one", "one")))
    assert largest_difference(ours, alone) <= 1e-5
    assert len(list((runs[first, second] / "snapshots").iterdir())) == 4


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES[1:])
def test_a_classifier_too(strategy, runs):
    ours, alone = (final_state(runs["classifier", s], TOTAL) for s in (strategy, "one"))
    assert largest_difference(ours, alone) <= 1e-5
    logs = [(runs["classifier", s] / "metrics.csv").read_text().splitlines()[-1].split(",") for s in (strategy, "one")]
    assert [float(n) for n in logs[0][:3]] == pytest.approx([float(n) for n in logs[1][:3]], abs=1e-4)


@pytest.mark.slow
def test_sharded_and_whole_files_have_the_same_tensors(runs):
    alone, sharded = (final_state(runs[s, s], TOTAL) for s in ("one", "fsdp"))
    assert {k: (v.shape, v.dtype) for k, v in alone.items()} == {k: (v.shape, v.dtype) for k, v in sharded.items()}


def main() -> None:
    """In each of the two ranks."""
    from edm2lite.training.fit import fit

    for run_dir, strategy, total, changes in json.loads(sys.argv[1]):
        assert fit(config(Path(run_dir), strategy, total, **changes)) == 0


if __name__ == "__main__":
    main()
