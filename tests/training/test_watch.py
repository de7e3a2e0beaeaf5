"""Looks at a run on the way: when, what is written, and that the training neither notices nor dies of it."""

import csv
import shutil
import signal
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edm2lite.config import ModelRef, Nimg, TrainConfig, WeightConfig
from edm2lite.config.watching import WatchConfig
from edm2lite.errors import UserError
from edm2lite.interrupt import Interrupt
from edm2lite.training import watch
from edm2lite.training.fit import fit
from edm2lite.training.loggers import MetricsCSV, log_sight
from edm2lite.training.watch_log import WatchLog
from tests.training.runs import final_state, largest_difference
from tests.training.test_strategies import config

TOTAL = 96  # six steps


class Fake:
    """Sees a weight of the model in each of three batches; `event` is called with nimg and batch before each."""

    def __init__(self, event: Callable[[int, int], None] = lambda nimg, batch: None, problem: str = ""):
        self.event, self.problem, self.seen = event, problem, []

    def load(self, info, device):
        if self.problem:
            raise UserError(self.problem)

    def describe(self):
        return {"seeds": "0-2"}

    def look(self, model, rank):
        for batch in range(rank.index, 3, rank.count):
            self.event(model.info.nimg, batch)
            yield batch, float(model.net.logvar_linear.weight.double().mean())
        self.seen.append((int(model.info.nimg), model.info.sigma_rel))

    def report(self, parts):
        return {"N": len(parts), "mean": parts[0][1], "mean_se": 0.5}, np.zeros((1, 8, 8), np.uint8)


def run_config(run_dir: Path, total: int = TOTAL, **watch) -> TrainConfig:
    cfg = config(run_dir, "one", total)
    training = replace(cfg.training, snapshot_nimg=Nimg(32), checkpoint_nimg=Nimg(48))
    return replace(cfg, training=training, watch=WatchConfig(**{"every_nimg": Nimg(32), "ema": 0.1} | watch))


def rows(run_dir: Path) -> list[dict[str, str]]:
    with open(run_dir / "watch.csv") as f:
        return list(csv.DictReader(f))


@pytest.fixture(scope="module")
def unwatched(tmp_path_factory) -> Path:
    cfg = run_config(tmp_path_factory.mktemp("watch") / "unwatched", every_nimg=None)
    assert fit(cfg) == 0
    assert not list(Path(cfg.run_dir).glob("watch*"))
    return Path(cfg.run_dir)


def test_every_so_often_and_at_the_end_the_asked_average_is_looked_at(unwatched, tmp_path, capsys):
    cfg = run_config(tmp_path / "run", every_nimg=Nimg(64))
    watcher = Fake(lambda nimg, batch: time.sleep(0.2))
    assert fit(cfg, watcher=watcher) == 0
    assert watcher.seen == [(64, 0.1), (96, 0.1)]
    found = rows(tmp_path / "run")
    assert [(row["nimg"], row["ema"], row["N"]) for row in found] == [("64", "0.1", "3"), ("96", "0.1", "3")]
    averaged = final_state(unwatched, TOTAL)
    for row in found:
        weight = averaged[f"{row['nimg']}-ema0.1.safetensors/logvar_linear.weight"]
        assert float(row["mean"]) == pytest.approx(float(weight.double().mean()), rel=1e-7)
    assert sorted(path.name for path in (tmp_path / "run/watch").glob("*.png")) == ["64.png", "96.png"]
    assert "watch at nimg 96: N 3, mean" in capsys.readouterr().err
    assert largest_difference(final_state(tmp_path / "run", TOTAL), averaged) == 0
    with open(tmp_path / "run" / "metrics.csv") as f:
        after = next(row for row in csv.DictReader(f) if row["nimg"] == "80")
    assert float(after["img_per_s"]) > 16 / 0.6  # the look is not counted


def test_of_gathered_weights_no_second_copy_is_held(tmp_path, monkeypatch):
    """As under FSDP2, where they are gathered for the look, and then laid out as convolutions like them."""
    gathered, held = [], []

    def gather(shard, like):
        whole = shard.clone(memory_format=torch.contiguous_format)
        if whole.ndim == 4 and not whole.is_contiguous(memory_format=torch.channels_last):
            gathered.append(weakref.ref(whole))
        return whole

    monkeypatch.setattr(watch, "gather", gather)
    watcher = Fake(lambda nimg, batch: held.append(sum(ref() is not None for ref in gathered)))
    assert fit(run_config(tmp_path / "run", total=48, every_nimg=Nimg(48)), watcher=watcher) == 0
    assert gathered and held == [0, 0, 0]


def test_what_cannot_work_is_refused_at_the_start(tmp_path):
    with pytest.raises(UserError, match="watch: no such guide"):
        fit(run_config(tmp_path / "run"), watcher=Fake(problem="no such guide"))
    assert not (tmp_path / "run" / "checkpoints").exists()
    with pytest.raises(ValueError, match="needs a watcher"):
        fit(run_config(tmp_path / "run"))


def test_whatever_fails_on_the_way_the_training_goes_on(unwatched, tmp_path, capsys, monkeypatch):
    def event(nimg, batch):
        if (nimg, batch) == (32, 1):
            raise RuntimeError("CUDA out of memory")

    def report(parts):
        if len(calls := reports) == 0:
            reports.append(calls)
            raise OSError(28, "No space left on device")
        return {"N": 3.0}, None

    reports: list = []
    watcher = Fake(event)
    monkeypatch.setattr(watcher, "report", report)
    assert fit(run_config(tmp_path / "run"), watcher=watcher) == 0
    errors = capsys.readouterr().err.splitlines()
    warnings = [line for line in errors if line.startswith("warning")]
    assert warnings == [
        "warning: watch at nimg 32 failed, the training goes on: RuntimeError: CUDA out of memory",
        "warning: watch at nimg 64 failed, the training goes on: OSError: [Errno 28] No space left on device",
    ]
    assert [row["nimg"] for row in rows(tmp_path / "run")] == ["96"]
    assert largest_difference(final_state(tmp_path / "run", TOTAL), final_state(unwatched, TOTAL)) == 0


def test_a_signal_ends_the_look_at_once_and_it_is_taken_when_the_run_goes_on(unwatched, tmp_path):
    cfg, batches = run_config(tmp_path / "run"), []
    for expected in (
        [(32, 0), (32, 1), (32, 2), (64, 0), (64, 1)],
        [(64, 0), (64, 1)],
    ):  # also in a look of a resumed run
        with Interrupt() as interrupt:

            def event(nimg, batch, interrupt=interrupt):
                batches.append((nimg, batch))
                interrupt.signum = signal.SIGTERM if (nimg, batch) == (64, 1) else 0

            assert fit(cfg, interrupt, Fake(event)) == 143
        assert batches == expected and [row["nimg"] for row in rows(tmp_path / "run")] == ["32"]
        assert (tmp_path / "run/checkpoints/64.safetensors").exists()
        assert (tmp_path / "run/checkpoints/48.safetensors").exists()
        batches.clear()
    watcher = Fake()
    assert fit(cfg, watcher=watcher) == 0
    assert [nimg for nimg, _ in watcher.seen] == [64, 96]
    assert [row["nimg"] for row in rows(tmp_path / "run")] == ["32", "64", "96"]
    assert largest_difference(final_state(tmp_path / "run", TOTAL), final_state(unwatched, TOTAL)) == 0


def test_after_a_signal_before_it_no_look_is_begun(tmp_path):
    batches: list[int] = []
    with Interrupt() as interrupt:
        interrupt.signum = signal.SIGTERM
        watcher = Fake(lambda nimg, batch: batches.append(batch))
        assert fit(run_config(tmp_path / "run", every_nimg=Nimg(16)), interrupt, watcher) == 143
    assert not batches


def test_what_was_looked_at_is_not_looked_at_again_unless_it_would_differ(tmp_path):
    cfg = run_config(tmp_path / "run", total=64)
    assert fit(cfg, watcher=Fake()) == 0
    (tmp_path / "run/checkpoints/64.safetensors").unlink()
    again, other = Fake(), Fake()
    assert fit(cfg, watcher=again) == 0  # from 48 on
    assert again.seen == []
    (tmp_path / "run/checkpoints/64.safetensors").unlink()
    other.describe = lambda: {"seeds": "0-99"}
    assert fit(cfg, watcher=other) == 0
    assert other.seen == [(64, 0.1)]
    assert [row["nimg"] for row in rows(tmp_path / "run")] == ["32", "64", "64"]


def test_looks_at_a_run_that_left_no_state_count_for_nothing(tmp_path):
    cfg = run_config(tmp_path / "run", total=64)
    assert fit(cfg, watcher=Fake()) == 0
    for folder in ("checkpoints", "snapshots"):
        shutil.rmtree(tmp_path / "run" / folder)
    again = Fake()
    assert fit(run_config(tmp_path / "run", total=48), watcher=again) == 0
    assert [nimg for nimg, _ in again.seen] == [32, 48] == [int(row["nimg"]) for row in rows(tmp_path / "run")]


def test_the_file_of_numbers_takes_other_columns_and_is_never_in_the_way(tmp_path):
    path = tmp_path / "watch.csv"
    WatchLog(path, "a").add(32, 0.05, {"N": 10, "fd": 2.5})
    log = WatchLog(path, "b")
    log.add(32, 0.05, {"N": 20, "kd": 1 / 3})
    log.add(32, 0.05, {"N": 20, "kd": 0.5})
    assert path.read_text() == "nimg,setup,ema,N,fd,kd\n32,a,0.05,10,2.5,\n32,b,0.05,20,,0.5\n"
    assert log.has(32) and not log.has(64) and not WatchLog(path, "c").has(32)
    path.write_bytes(b"\xff\xfe\x00")
    assert not log.has(32)


def test_loggers_get_numbers_and_the_sheet(tmp_path, monkeypatch):
    """W&B, which is not installed where these tests run, is stood in for by the interface of Lightning's logger."""
    from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sent = []
    wandb = object.__new__(WandbLogger)
    monkeypatch.setattr(WandbLogger, "log_metrics", lambda self, metrics, step: sent.append((metrics, step)))
    monkeypatch.setattr(WandbLogger, "log_image", lambda self, key, images, step: sent.append((key, images, step)))
    board = TensorBoardLogger(tmp_path, name="tensorboard", version="")
    sheet = np.arange(3 * 8 * 9, dtype=np.uint8).reshape(3, 8, 9)
    log_sight([MetricsCSV(tmp_path / "metrics.csv"), wandb, board], {"fd": 2.5}, sheet, 96)
    assert sent[0] == ({"watch/fd": 2.5}, 96)
    key, [picture], step = sent[1]
    assert (key, step) == ("watch/sheet", 96) and np.array_equal(np.asarray(picture), sheet.transpose(1, 2, 0))
    assert not (tmp_path / "metrics.csv").exists()
    board.experiment.flush()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("watch/fd")] == [(96, 2.5)]
    assert [(e.step, e.width, e.height) for e in events.Images("watch/sheet")] == [(96, 9, 8)]
    board.finalize("success")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"every_nimg": Nimg(40)}, "watch.every_nimg is 40; it must be a positive multiple"),
        ({"ema": 0.2}, r"watch.ema is 0.2; it must be one of training.ema_sigma_rel: \[0.05, 0.1\]"),
        ({"every_nimg": None, "ref": "ref.npz"}, "watch.ref is given but watch.every_nimg is not"),
        (
            {"every_nimg": None, "guide": ModelRef(path="runs/a")},
            "watch.guide.path is given but watch.every_nimg is not",
        ),
        ({"metrics": ("fid",)}, "nothing to measure against; give watch.ref"),
        ({"metrics": ("fjd",), "ref": "ref.npz"}, "unknown metric 'fjd'"),
        ({"sheet": 0}, "nothing would be made"),
        ({"sheet": 65, "seeds": "0-63"}, "at most 64, the number of watch.seeds"),
        ({"seeds": "7", "sheet": 1, "ref": "ref.npz"}, "at least 2 seeds"),
        ({"guide": ModelRef(path="runs/a")}, "no weight; set --guidance.weight"),
        ({"guidance": WeightConfig(weight=2.0)}, "there is no guide"),
        ({"batch_size": 0}, "watch.batch_size is 0"),
    ],
)
def test_settings_that_cannot_be_meant(bad, message, tmp_path):
    with pytest.raises(UserError, match=message):
        run_config(tmp_path, **bad)


def test_a_classifier_makes_no_images_to_watch(tmp_path):
    with pytest.raises(UserError, match="task is classifier, which makes no images to watch"):
        replace(run_config(tmp_path), task="classifier")


def test_without_a_reference_only_the_sheet_is_made():
    assert WatchConfig(seeds="5-999", sheet=3).parsed_seeds() == [5, 6, 7]
    assert WatchConfig(seeds="5-9", sheet=3, ref="ref.npz", every_nimg=Nimg(16)).parsed_seeds() == [5, 6, 7, 8, 9]
    assert not WatchConfig(every_nimg=Nimg(0), ref="ref.npz").on  # switched off by hand
