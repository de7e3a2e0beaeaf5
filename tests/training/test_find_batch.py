"""The search for a micro-batch: which are tried, when it ends, what it says."""

from dataclasses import replace

import pytest
import torch

from edm2lite.config import TrainerConfig
from edm2lite.errors import UserError
from edm2lite.training import find_batch as module
from edm2lite.training.bench import Bench, Measured, Setting
from edm2lite.training.find_batch import climb, fastest, find_batch, options, prices, sizes
from edm2lite.training.memory import Peak
from tests.conftest import TRAIN_OPTIONS, run_script
from tests.training.test_strategies import config


@pytest.mark.parametrize(
    ("share", "tried"),
    [(1, [1]), (7, [1, 7]), (16, [1, 2, 4, 8, 16]), (12, [1, 2, 3, 6, 12]), (48, [1, 2, 3, 6, 12, 24, 48])],
)
def test_divisors_of_the_share_are_tried(share, tried):
    assert sizes(share) == tried


class Fake:
    """Speeds by size; memory ends after the last."""

    device = torch.device("cpu")

    def __init__(self, *speeds: float):
        self.speeds = dict(zip((1, 2, 4, 8, 16), speeds, strict=False))

    def measure(self, setting):
        size = setting.batch_per_device
        half = 2 if setting.recompute else 1
        return Measured(setting, self.speeds[size] / half, size * 2**20 // half) if size in self.speeds else None

    def able_backends(self):
        return ["math"]


@pytest.mark.parametrize(
    ("speeds", "tried"),
    [((10, 20, 40, 80, 160), 5), ((10, 20), 2), ((), 0), ((10, 20, 19, 20.1, 99), 4), ((10, 20, 19, 30, 29), 5)],
)
def test_it_climbs_until_memory_ends_or_two_sizes_are_no_faster(speeds, tried):
    assert len(list(climb(Fake(*speeds), 16, recompute=False))) == tried


def test_the_fastest_is_the_first_unless_another_is_clearly_faster():
    found = [Measured(Setting(size), speed, 0) for size, speed in ((1, 10.0), (2, 20.0), (4, 20.3), (8, 20.5))]
    assert fastest(found).setting.batch_per_device == 8 and fastest(found[:3]).setting.batch_per_device == 2


def test_options_and_prices():
    assert options(Setting(4)) == ["--training.batch_per_device 4"]
    assert options(Setting(4, True, "flash"))[1:] == [
        "--training.activation_checkpointing true",
        "--training.attention flash",
    ]
    found = [
        Measured(Setting(8), 100.0, 1000),
        Measured(Setting(8, True), 75.0, 400),
        Measured(Setting(16, True), 80.0, 700),
    ]
    assert list(prices(found)) == ["activation checkpointing of 8 images: 60% less memory, 25% slower"]


def test_the_table_and_the_options_are_printed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(module, "Bench", lambda cfg, share: Fake(10, 20, 40))
    find_batch(config(tmp_path / "run", "one", 320))
    said = capsys.readouterr().out
    assert "fastest: --training.batch_per_device 4\n" in said
    assert "              4  yes          auto            20.0  2 MiB" in said and "4  no           math " in said
    monkeypatch.setattr(module, "Bench", lambda cfg, share: Fake())
    with pytest.raises(UserError, match="not one image fits on cpu"):
        find_batch(config(tmp_path / "run", "one", 320))
    assert not list(tmp_path.iterdir())


def test_it_is_for_one_process(tmp_path, monkeypatch):
    cfg = config(tmp_path / "run", "one", 320)
    with pytest.raises(UserError, match="does not divide over 3 devices"):
        find_batch(replace(cfg, trainer=TrainerConfig(devices=3)))
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="start it as one process"):
        find_batch(cfg)


def test_peak_memory_of_the_process():
    peak = Peak(torch.device("cpu"))
    peak.restart()
    torch.ones(2**26)  # 256 MiB, gone again
    assert 0.9 * 2**28 < peak.bytes() < 2 * 2**28


@pytest.mark.slow
def test_a_real_measurement(tmp_path):
    """Twice the images at a time need more memory, recomputing less; a step is a training step."""
    cfg = config(tmp_path / "run", "one", 320)
    cfg = replace(cfg, network=replace(cfg.network, model_channels=32))
    bench = Bench(cfg, 256)
    few, many, again = (bench.measure(setting) for setting in (Setting(32), Setting(256), Setting(256, recompute=True)))
    assert few and many and again and few.memory < again.memory < many.memory
    assert all(measured.speed > 0 for measured in (few, many, again))


@pytest.mark.slow
def test_the_command_prints_and_writes_nothing(tmp_path):
    done = run_script("train.py", *TRAIN_OPTIONS, "--find_batch=true", f"--run_dir={tmp_path / 'run'}")
    assert done.returncode == 0 and "fastest: --training.batch_per_device" in done.stdout, done.stderr
    assert not list(tmp_path.iterdir())


def test_kernels_are_tried_only_where_something_attends(tmp_path):
    attending = config(tmp_path, "one", 160)
    without = replace(attending, network=replace(attending.network, attn_resolutions=(), channels_per_head=64))
    assert "math" in Bench(attending, 4).able_backends() and Bench(without, 4).able_backends() == []
