"""`--estimate`: formulas in closed form, the published trainings, and what it prints."""

from dataclasses import replace

import pytest

from edm2lite.config import DataConfig, NetworkConfig, Nimg, TrainConfig, TrainerConfig, TrainingConfig
from edm2lite.errors import UserError
from edm2lite.training.budget import (
    FILL,
    Budget,
    Setup,
    data_shape,
    images_per_second,
    replicated_bytes,
    sharded_bytes,
    training_flops,
)
from edm2lite.training.devices import DEVICES, find_device, published_utilisation
from edm2lite.training.estimate import WHOLE_SYSTEM, print_estimate
from tests.conftest import TINY, run_script

DIGITS = TrainConfig(
    data=DataConfig(name="digits"), network=TINY, training=TrainingConfig(total_nimg=Nimg("1Mi"), batch_size=64)
)


def budget(device: str = "h100", **settings: object) -> Budget:
    cfg = replace(DIGITS, **settings)
    return Budget(cfg, data_shape(cfg.data), find_device(device))


def test_flops_are_six_a_multiply_add_and_eight_with_recomputing():
    assert training_flops(10, recompute=False) == 60
    assert training_flops(10, recompute=True) == 80


def test_speed():
    assert images_per_second(flops=2e9, devices=4, peak=1e12, utilisation=0.5) == 1000


def test_bytes_of_weights_and_optimizer():
    """4 bytes each: weights, gradients, two moments, averages; DDP's buckets; FSDP2's shares and whole blocks."""
    assert replicated_bytes(100, profiles=2, ranks=1) == 4 * 600
    assert replicated_bytes(100, profiles=2, ranks=8) == 4 * 700
    assert sharded_bytes(100, profiles=2, ranks=4, block=7, accumulates=False) == 4 * (600 // 4 + 3 * 7)
    assert sharded_bytes(100, profiles=2, ranks=4, block=7, accumulates=True) == 4 * (500 // 4 + 100 + 3 * 7)


# Karras et al. 2024a, Tables 2 and 3: channels, images, days and MWh on 32 A100s at ImageNet-512
PUBLISHED = [
    (128, 2147.5e6, 3.0, 1.2),
    (192, 2147.5e6, 5.3, 2.2),
    (256, 2147.5e6, 7.8, 3.2),
    (320, 1879.0e6, 10.2, 4.2),
    (384, 1342.2e6, 9.7, 4.0),
    (448, 939.5e6, 9.1, 3.8),
]


@pytest.mark.parametrize(("channels", "images", "days", "energy"), PUBLISHED)
def test_the_published_days_and_energy(channels, images, days, energy):
    cfg = TrainConfig(
        data=DataConfig(path="not-there/imagenet512-latents"),
        network=NetworkConfig(model_channels=channels),
        training=TrainingConfig(total_nimg=Nimg(int(images) // 2048 * 2048), precision="fp16"),
        trainer=TrainerConfig(devices=8, num_nodes=4),
    )
    run = Budget(cfg, data_shape(cfg.data), DEVICES["a100"])
    assert run.hours / 24 == pytest.approx(days, rel=0.03)
    assert run.hours * 32 * 400 / 1e6 * WHOLE_SYSTEM == pytest.approx(energy, rel=0.05)


def test_published_utilisation():
    """The table in percent: 23, 29, 35, 36, 39, 39; between sizes, that of the nearest."""
    sizes = [45.5e9, 102.2e9, 180.8e9, 282.2e9, 405.9e9, 552.1e9]
    assert [round(100 * published_utilisation(size)) for size in sizes] == [23, 29, 35, 36, 39, 39]
    assert published_utilisation(1e9) == published_utilisation(45.5e9)


def test_float32_computes_off_the_matrix_units():
    assert budget().peak == DEVICES["h100"].fp32 * 1e12
    assert budget(training=replace(DIGITS.training, precision="bf16")).peak == DEVICES["h100"].tensor * 1e12


def test_recomputing_costs_a_third_more_time():
    recomputing = budget(training=replace(DIGITS.training, activation_checkpointing=True))
    assert recomputing.hours == pytest.approx(budget().hours * 4 / 3)


def memory_for(run: Budget, setup: Setup) -> float:
    """A device's memory, in GiB, that just suffices."""
    return sum(run.memory(setup)) / FILL / 2**30 * (1 + 1e-9)


@pytest.mark.parametrize(
    ("suffices_for", "options"),
    [
        (Setup(8, False, False), "--training.batch_per_device 8"),
        (Setup(1, True, False), "--training.batch_per_device 1 --training.activation_checkpointing true"),
    ],
)
def test_what_does_not_fit_gets_options_with_which_it_would(suffices_for, options):
    run = budget()
    assert run.fits(run.setup)
    run.device = run.device._replace(memory=memory_for(run, suffices_for))
    assert not run.fits(run.setup) and run.next_step() == options


def test_what_fits_only_in_shares_is_sharded():
    run = budget(network=replace(TINY, model_channels=64), trainer=TrainerConfig(devices=64))
    run.device = run.device._replace(memory=memory_for(run, Setup(1, False, True)))
    assert run.next_step() == "--trainer.strategy fsdp"
    run.device = run.device._replace(memory=0.001)
    assert "more memory" in run.next_step()


def test_the_shape_of_data_that_is_not_there_yet():
    assert data_shape(DataConfig(path="not-there/imagenet512-latents"))[:3] == (64, 4, 1000)
    assert data_shape(DataConfig(path="not-there/imagenet64.zip", conditional=False))[:3] == (64, 3, 0)
    assert data_shape(DataConfig(name="digits"))[:3] == (8, 1, 10)
    with pytest.raises(UserError, match=r"neither 512 nor 64.*imagenet64"):
        data_shape(DataConfig(path="not-there/faces"))


def test_mistakes():
    with pytest.raises(UserError, match=r"'h10'; choose one of: .*a100.*h100"):
        print_estimate(replace(DIGITS, estimate="h10"))
    with pytest.raises(UserError, match="64 does not divide over 3 devices"):
        print_estimate(replace(DIGITS, estimate="h100", trainer=TrainerConfig(devices=3)))


def test_the_command_prints_and_writes_nothing(tmp_path):
    done = run_script(
        "train.py", "-c", "configs/imagenet512/s.yaml", "--estimate", "h100", f"--run_dir={tmp_path / 'r'}"
    )
    assert done.returncode == 0, done.stderr
    for text in ("280.2 M parameters", "1,048,576 steps", "fits", "ASSUMED: 29%", "512 snapshots of 1.1 GB"):
        assert text in done.stdout
    assert not any(tmp_path.iterdir())
