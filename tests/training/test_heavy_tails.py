"""The option training.nu reaches the noise that a training sees."""

import pytest
from lightning import Trainer

from edm2lite.config import DataConfig, TrainConfig, TrainingConfig
from edm2lite.data.datasets import load_dataset
from edm2lite.errors import UserError
from edm2lite.training.module import EDM2Module
from edm2lite.training.trainer import PositionData
from tests.conftest import tiny_denoiser

pytestmark = pytest.mark.filterwarnings("ignore")


def first_batch(nu):
    cfg = TrainConfig(data=DataConfig(name="digits"), training=TrainingConfig(batch_size=128, nu=nu))
    data = PositionData(load_dataset(cfg.data), cfg)
    data.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    data.trainer.strategy.connect(EDM2Module(tiny_denoiser(), cfg.training))
    return next(iter(data.train_dataloader()))


def test_heavy_tailed_training_noise():
    largest = {nu: float(first_batch(nu).noise.flatten(1).norm(dim=1).max()) for nu in (None, 3.0)}
    assert largest[None] < 12 and largest[3.0] > 20, "norms of Gaussian noise in 64 dimensions are near 8"


@pytest.mark.parametrize("nu", [2.0, -1.0, float("inf"), float("nan")])
def test_degrees_of_freedom_without_a_variance_are_refused(nu):
    with pytest.raises(UserError, match=r"training.nu is .* must be above 2"):
        TrainingConfig(nu=nu)
