"""What a training shows of itself is what sample.py and evaluate.py make of its snapshot, on any number of ranks."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edm2lite.config import (
    DataConfig,
    GuidanceConfig,
    MetricsConfig,
    ModelRef,
    Nimg,
    RefConfig,
    SampleConfig,
    SamplerConfig,
    TrainConfig,
    TrainerConfig,
    WeightConfig,
)
from edm2lite.config.watching import WatchConfig
from edm2lite.data.sheets import sheet
from edm2lite.errors import UserError
from edm2lite.evaluation.check_watch import check_watch
from edm2lite.evaluation.measure import compute_metrics, compute_reference
from edm2lite.evaluation.watch import PairWatcher
from edm2lite.ranks import Rank
from edm2lite.sampling.images import image_path, read_png
from edm2lite.sampling.write import sample
from edm2lite.snapshots.files import SnapshotInfo
from edm2lite.snapshots.load import LoadedModel, load_model
from edm2lite.training.fit import fit
from tests.conftest import GOLDEN, ROOT
from tests.data.vae import tiny_vae
from tests.training.runs import final_state, largest_difference
from tests.training.test_strategies import config

HALF, TOTAL, BATCH = 96, 192, 12  # 8 and 16 steps; a batch that divides over 2 and over 3 ranks
SEEDS, SAMPLER, WEIGHT = "3-42", SamplerConfig(num_steps=4), 1.5
GUIDED = WeightConfig(weight=WEIGHT)


def run_config(run_dir: Path, total: int = TOTAL, watch: dict[str, Any] | None = None, ranks: int = 1, strategy="one"):
    cfg = config(run_dir, strategy, total)
    training = replace(
        cfg.training, batch_size=BATCH, total_nimg=Nimg(total), snapshot_nimg=Nimg(HALF), checkpoint_nimg=Nimg(HALF)
    )
    trainer = TrainerConfig(accelerator="cpu", devices=ranks, strategy="auto" if strategy == "one" else strategy)
    network = replace(cfg.network, attn_resolutions=())
    watching = WatchConfig() if watch is None else watch_config(**watch)
    return replace(cfg, network=network, training=training, trainer=trainer, watch=watching)


def watch_config(guide: str = "", nimg: int | None = HALF, weight: WeightConfig = GUIDED, **changes):
    ref = ModelRef(path=guide or None, nimg=Nimg(nimg) if guide and nimg else None)
    guided = {"guide": ref, "guidance": weight} if guide else {}
    settings = {"every_nimg": Nimg(HALF), "seeds": SEEDS, "sheet": 9, "sampler": SAMPLER, "batch_size": 16}
    return WatchConfig(**settings | guided | changes)


def train(cfg: TrainConfig) -> Path:
    assert fit(cfg, watcher=PairWatcher(cfg)) == 0
    return Path(cfg.run_dir)


def rows(run_dir: Path) -> list[dict[str, str]]:
    with open(run_dir / "watch.csv") as f:
        return list(csv.DictReader(f))


@pytest.fixture(scope="module")
def ref(tmp_path_factory) -> str:
    path = str(tmp_path_factory.mktemp("ref") / "digits.npz")
    compute_reference(RefConfig(data=DataConfig(name="digits"), out=path))
    return path


@pytest.fixture(scope="module")
def unwatched(tmp_path_factory) -> Path:
    return train(run_config(tmp_path_factory.mktemp("runs") / "unwatched"))


@pytest.fixture(scope="module")
def watched(ref, unwatched, tmp_path_factory) -> Path:
    watch = {"ref": ref, "metrics": ("fd", "coverage"), "guide": str(unwatched)}
    return train(run_config(tmp_path_factory.mktemp("runs") / "watched", watch=watch))


def test_the_training_goes_on_bit_for_bit_as_without(unwatched, watched):
    assert [row["nimg"] for row in rows(watched)] == [str(HALF), str(TOTAL)]
    a, b = (final_state(run_dir, TOTAL) for run_dir in (unwatched, watched))
    assert any(name.startswith("adam/") for name in a) and any(name.startswith("ema/") for name in a)
    assert largest_difference(a, b) == 0
    assert [p.name for p in sorted(watched.glob("watch/*"))[:2]] == [f"{TOTAL}.png", f"{HALF}.png"]
    assert not (watched / "watch" / "features").exists()


def test_the_sheet_shows_the_images_that_sample_makes_of_the_snapshot(unwatched, watched, tmp_path):
    guide = {"guide": ModelRef(path=str(unwatched), nimg=Nimg(HALF)), "guidance": GuidanceConfig(weight=WEIGHT)}
    settings = {"seeds": "3-11", "sampler": SAMPLER, "batch_size": 16, "device": "cpu"}
    for nimg in (HALF, TOTAL):
        main, out = ModelRef(path=str(watched), nimg=Nimg(nimg), ema=0.05), tmp_path / str(nimg)
        sample(SampleConfig(main=main, outdir=str(out), **settings, **guide))
        expected = sheet([read_png(image_path(out, seed)) for seed in range(3, 12)])
        assert np.array_equal(read_png(watched / "watch" / f"{nimg}.png"), expected)


def test_the_numbers_are_those_of_evaluate(ref, unwatched, watched):
    pair = {"main": ModelRef(path=str(watched), nimg=Nimg(TOTAL), ema=0.05), "seeds": SEEDS}
    pair |= {"guide": ModelRef(path=str(unwatched), nimg=Nimg(HALF)), "guidance": GuidanceConfig(weight=WEIGHT)}
    measure = {"ref": ref, "metrics": ("fd", "coverage"), "sampler": SAMPLER, "batch_size": 16, "device": "cpu"}
    result = compute_metrics(MetricsConfig(**pair, **measure))
    row = rows(watched)[-1]
    assert int(row["N"]) == 40
    for name in ("fd", "coverage"):
        score = result["metrics"][name]["scores"][0]
        assert float(row[name]) == pytest.approx(score["value"], rel=1e-6)
        assert float(row[f"{name}_se"]) == pytest.approx(score["se"], rel=1e-6)


def look(run_dir: Path, ranks: int, **watch: Any) -> tuple[dict[str, float], np.ndarray]:
    """What so many ranks, one after the other, show of the last snapshot."""
    watcher, model = PairWatcher(run_config(run_dir, watch=watch)), load_model(run_dir, ema=0.05)
    watcher.load(model.info, torch.device("cpu"))
    numbers, picture = watcher.report(
        [part for i in range(ranks) for part in watcher.look(model, Rank(i, ranks))][::-1]
    )
    assert picture is not None
    return numbers, picture


def test_any_number_of_ranks_with_uneven_tails_shows_the_same(ref, unwatched):
    """40 seeds over 3 ranks are 14, 13 and 13; 2 over 3 ranks leave one without any."""
    for ranks, watch in ((2, {"ref": ref}), (3, {"ref": ref}), (3, {"seeds": "7,5", "sheet": 2})):
        (numbers, picture), (expected, alone) = (look(unwatched, count, **watch) for count in (ranks, 1))
        assert expected["N"] == (40 if "ref" in watch else 2) and ("fd" in expected) == ("ref" in watch)
        assert numbers == pytest.approx(expected, rel=1e-9) and np.array_equal(picture, alone)


def test_the_guide_guides(ref, unwatched):
    (alone, plain), (guided, changed) = look(unwatched, 1, ref=ref), look(unwatched, 1, ref=ref, guide=str(unwatched))
    assert alone["fd"] != pytest.approx(guided["fd"], rel=1e-3) and not np.array_equal(plain, changed)


def test_what_the_numbers_depend_on_is_told_apart(ref, unwatched):
    info = load_model(unwatched).info

    def described(**watch: Any) -> dict[str, Any]:
        watcher = PairWatcher(run_config(unwatched, watch=watch))
        watcher.load(info, torch.device("cpu"))
        return watcher.describe()

    base = described(ref=ref)
    assert described(ref=ref, every_nimg=Nimg(12)) == base == described(ref=ref, metrics=("fd",))
    others = (
        {"seeds": "3-41"},
        {"guide": str(unwatched)},
        {"metrics": ("kd",)},
        {"sampler": SamplerConfig(num_steps=5)},
    )
    for other in others:
        assert described(ref=ref, **other) != base


def test_what_does_not_go_together_is_refused_when_it_is_loaded(ref, unwatched):
    info = load_model(unwatched).info
    foreign = {"guide": str(GOLDEN / "snapshot-guide.pkl"), "nimg": None}
    never = {"guide": str(unwatched), "weight": WeightConfig(weight=2.0, interval=(100, 200))}
    cases = [
        (info, foreign, "main and guide differ in img_resolution"),
        (info, never, "is 1 at every noise level"),
        (info, {"ref": ref, "metrics": ("fid",)}, "needs statistics of inception"),
        (replace(info, img_channels=3), {"ref": ref}, r"has shape \[3, 8, 8\]"),
    ]
    for wanted, watch, message in cases:
        with pytest.raises(UserError, match=message):
            PairWatcher(run_config(unwatched, watch=watch)).load(wanted, torch.device("cpu"))


def test_missing_files_are_refused_before_anything_is_imported(ref, unwatched):
    check_watch(watch_config(ref=ref, guide=str(unwatched)))
    with pytest.raises(UserError, match=r"reference statistics nowhere\.npz do not exist"):
        check_watch(watch_config(ref="nowhere.npz"))
    with pytest.raises(UserError, match="guide model nowhere does not exist"):
        check_watch(watch_config(guide="nowhere"))
    with pytest.raises(UserError, match="no snapshot at nimg 48"):
        check_watch(watch_config(guide=str(unwatched), nimg=48))


class Disturbed(PairWatcher):
    """On the last rank, in its second batch, out of memory or asked to stop."""

    def __init__(self, cfg: TrainConfig, by: str):
        super().__init__(cfg)
        self.by = by

    def look(self, model, rank):
        for i, part in enumerate(super().look(model, rank)):
            if i == 1 and rank.index == rank.count - 1 and self.by == "memory":
                raise torch.OutOfMemoryError("CUDA out of memory")
            if i == 1 and rank.index == rank.count - 1 and self.by == "signal":
                os.kill(os.getpid(), signal.SIGTERM)
            yield part


def launch(ranks: int, jobs: list[tuple[Path, str, dict[str, Any] | None, str]]) -> str:
    """Runs of so many gloo ranks, one after the other; what they print on standard error."""
    plain_jobs = json.dumps([(str(run_dir), ranks, *job) for run_dir, *job in jobs])
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        f"--nproc-per-node={ranks}",
        "--standalone",
        "-m",
        __name__,
    ]
    done = subprocess.run([*command, plain_jobs], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def moved(ref, unwatched, tmp_path_factory) -> tuple[Path, dict[str, Path], str]:
    """Eight steps on one rank; from there on, with a look at once, on 2 (DDP and FSDP2) and 3; what 2 printed."""
    root = tmp_path_factory.mktemp("moved")
    watch = {"ref": ref, "guide": str(unwatched), "batch_size": 13}  # 14 seeds are two batches, 13 one
    half = train(run_config(root / "half", total=HALF, watch=watch))
    runs = {name: root / name for name in ("one", "three", "ddp", "fsdp", "off-ddp", "off-fsdp", "failing", "stopped")}
    for run_dir in runs.values():
        shutil.copytree(half, run_dir)
        (run_dir / "watch.csv").unlink()
        shutil.rmtree(run_dir / "watch")
    train(run_config(runs["one"], watch=watch))
    launch(3, [(runs["three"], "ddp", watch, "")])
    on = [(runs[strategy], strategy, watch, "") for strategy in ("ddp", "fsdp")]
    off = [(runs[f"off-{strategy}"], strategy, None, "") for strategy in ("ddp", "fsdp")]
    disturbed = [(runs["failing"], "ddp", watch, "memory"), (runs["stopped"], "ddp", watch, "signal")]
    return half, runs, launch(2, [*on, *off, *disturbed, (runs["stopped"], "ddp", watch, "")])


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_on_two_ranks_too_the_training_goes_on_bit_for_bit(strategy, moved):
    on, off = (final_state(moved[1][name], TOTAL) for name in (strategy, f"off-{strategy}"))
    assert largest_difference(on, off) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["one", "three", "ddp", "fsdp", "stopped"])
def test_the_same_average_shows_the_same_in_every_layout(name, moved):
    half, runs, _ = moved
    (first,), (now, end) = rows(half), rows(runs[name])
    assert (now["nimg"], end["nimg"]) == (str(HALF), str(TOTAL))
    assert float(now["fd"]) == pytest.approx(float(first["fd"]), rel=1e-7)
    assert float(end["fd"]) == pytest.approx(float(rows(runs["one"])[1]["fd"]), rel=1e-3)  # trained apart by rounding
    assert np.array_equal(read_png(runs[name] / f"watch/{HALF}.png"), read_png(half / f"watch/{HALF}.png"))


@pytest.mark.slow
def test_when_one_rank_fails_or_is_asked_to_stop_all_go_on_or_stop_alike(moved):
    _, runs, errors = moved
    assert errors.count("failed, the training goes on: OutOfMemoryError: CUDA out of memory") == 2
    assert not (runs["failing"] / "watch.csv").exists()
    assert f"stopped by SIGTERM at nimg {HALF}, the state is saved" in errors
    for name in ("failing", "stopped"):
        assert largest_difference(final_state(runs[name], TOTAL), final_state(runs["ddp"], TOTAL)) == 0


@pytest.mark.slow
def test_latents_are_shown_as_pictures(tmp_path):
    tiny_vae().save_pretrained(tmp_path / "vae")
    network = replace(config(tmp_path, "one", TOTAL).network, attn_resolutions=())
    info = SnapshotInfo(img_resolution=8, img_channels=4, label_dim=0, network=network, encoder={"name": "vae"})
    model = LoadedModel(info.build().requires_grad_(False), info, tmp_path)  # type: ignore[arg-type]
    watcher = PairWatcher(run_config(tmp_path, watch={"vae": str(tmp_path / "vae"), "sheet": 4}))
    watcher.load(info, torch.device("cpu"))
    numbers, picture = watcher.report(list(watcher.look(model, Rank(0, 1))))
    assert numbers == {"N": 4} and picture is not None and picture.shape == (3, 2 * 66 + 2, 2 * 66 + 2)


def main() -> None:
    """In each of the ranks."""
    for run_dir, ranks, strategy, watch, disturbed in json.loads(sys.argv[1]):
        cfg = run_config(Path(run_dir), watch=watch, ranks=ranks, strategy=strategy)
        assert fit(cfg, watcher=Disturbed(cfg, disturbed)) == (143 if disturbed == "signal" else 0)


if __name__ == "__main__":
    main()
