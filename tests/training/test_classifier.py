"""A classifier is trained, resumed, averaged and loaded as a denoiser is."""

import csv
import shutil
from dataclasses import replace

import pytest
import torch

from edm2lite import load_denoiser
from edm2lite.config import DataConfig, LoggingConfig, ModelRef, Nimg, TrainConfig, TrainingConfig
from edm2lite.data.datasets import load_dataset
from edm2lite.data.positions import PositionDataset
from edm2lite.errors import UserError
from edm2lite.network.classifier import Classifier
from edm2lite.snapshots.classifiers import load_classifier
from edm2lite.snapshots.files import SnapshotInfo, read_metadata, save_snapshot
from edm2lite.training.estimate import print_estimate
from edm2lite.training.fit import fit
from edm2lite.training.initial import initialize
from tests.conftest import TINY, tiny_denoiser
from tests.training.runs import final_state, largest_difference

pytestmark = pytest.mark.filterwarnings("ignore")
BATCH, HALF, TOTAL = 64, 64 * 25, 64 * 50


def config(run_dir, total=TOTAL, **changes) -> TrainConfig:
    network = replace(TINY, model_channels=16, attn_resolutions=(), dropout=0.1)
    training = TrainingConfig(
        batch_size=BATCH, total_nimg=Nimg(total), rampup_nimg=Nimg(640), snapshot_nimg=Nimg(HALF), checkpoint_nimg=Nimg(HALF),
        P_mean=-1.0,
    )  # fmt: skip
    return TrainConfig(
        run_dir=str(run_dir), task="classifier", data=DataConfig(name="digits"), network=network, training=training,
        logging=LoggingConfig(every_nimg=Nimg(BATCH), progress_bar=False),
    )  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The run in one go; a copy of its first half that was gone on with."""
    root = tmp_path_factory.mktemp("classifier")
    assert fit(config(root / "resumed", HALF)) == 0
    shutil.copytree(root / "resumed", root / "half")
    assert fit(config(root / "resumed")) == 0
    assert fit(config(root / "whole")) == 0
    return root


def noisy_digits(sigma):
    batch = PositionDataset(load_dataset(DataConfig(name="digits")), 77).__getitems__(list(range(500)))
    return batch.images + sigma * batch.noise, batch.labels


def test_it_learns_digits_with_little_noise(runs):
    classifier = load_classifier(ModelRef(path=str(runs / "whole"))).classifier
    accuracy = {}
    for sigma in (0.05, 20.0):
        x, labels = noisy_digits(sigma)
        accuracy[sigma] = float((classifier(x, sigma).argmax(dim=1) == labels).float().mean())
    assert accuracy[0.05] > 0.4 and accuracy[20.0] < 0.25


def test_resumed_it_is_the_same_to_the_bit(runs):
    assert largest_difference(final_state(runs / "resumed", TOTAL), final_state(runs / "whole", TOTAL)) == 0


def test_the_log_has_cross_entropy_and_accuracy(runs):
    with open(runs / "resumed" / "metrics.csv") as f:
        rows = list(csv.DictReader(f))
    assert [int(row["nimg"]) for row in rows] == list(range(BATCH, TOTAL + 1, BATCH))
    assert list(rows[0])[:3] == ["nimg", "loss", "accuracy"]
    assert float(rows[0]["loss"]) == pytest.approx(2.3026, abs=0.01), "ln 10: at first all classes are equally probable"
    last = [sum(float(row[name]) for row in rows[-10:]) / 10 for name in ("loss", "accuracy")]
    assert last[0] < 2.2 and 0.2 < last[1] < 1


def test_snapshots_say_what_they_are_and_any_ema_length_can_be_had(runs):
    stored = sorted((runs / "whole" / "snapshots").iterdir())
    assert len(stored) == 4 and all(read_metadata(path)["kind"] == '"classifier"' for path in stored)
    short, other = (load_classifier(ModelRef(path=str(runs / "whole"), ema=ema)) for ema in (0.05, 0.07))
    assert (other.info.sigma_rel, other.info.nimg, other.label_dim) == (0.07, TOTAL, 10)
    x, _ = noisy_digits(0.3)
    assert (short.classifier(x, 0.3) - other.classifier(x, 0.3)).abs().max() > 1e-4
    assert other.fingerprint != short.fingerprint
    assert not any(p.requires_grad for p in other.classifier.parameters())


def test_denoiser_and_classifier_are_told_apart(runs, tmp_path):
    info = SnapshotInfo(img_resolution=8, img_channels=1, label_dim=10, network=TINY)
    save_snapshot(tmp_path / "denoiser.safetensors", tiny_denoiser(label_dim=10).state_dict(), info)
    with pytest.raises(
        UserError, match=r"holds a classifier, but a denoiser is needed here.*--guidance.classifier.path"
    ):
        load_denoiser(runs / "whole")
    with pytest.raises(UserError, match=r"holds a denoiser, but a classifier is needed here.*task: classifier"):
        load_classifier(ModelRef(path=str(tmp_path / "denoiser.safetensors")))
    with pytest.raises(UserError, match="holds a classifier, but a denoiser"):
        initialize(tiny_denoiser(), str(runs / "whole"), {"name": "rgb", "scale": 192.0})


def test_a_classifier_begins_with_another_one(runs, capsys):
    source = load_classifier(ModelRef(path=str(runs / "whole")))
    same, fewer = (Classifier(8, 1, classes, source.classifier.network) for classes in (10, 3))
    for net in (same, fewer):
        initialize(net, str(runs / "whole"), source.info.encoder)
    x, _ = noisy_digits(0.3)
    assert torch.equal(same(x, 0.3), source.classifier(x, 0.3))
    assert torch.equal(fewer.enc["8x8_conv"].weight, source.classifier.enc["8x8_conv"].weight)
    assert "its label layer (10 classes) is made anew for 3 classes" in capsys.readouterr().err


def test_a_run_stays_what_it_is(runs):
    with pytest.raises(UserError, match="task = classifier, but this command sets denoiser"):
        fit(replace(config(runs / "half"), task="denoiser"))


def test_without_labels_or_with_an_estimate_it_is_refused(tmp_path):
    with pytest.raises(UserError, match="needs labels"):
        TrainConfig(task="classifier", data=DataConfig(name="digits", conditional=False))
    with pytest.raises(UserError, match="--estimate knows denoisers alone"):
        print_estimate(replace(config(tmp_path / "run"), estimate="h100"))
    with pytest.raises(UserError, match="choose one of: denoiser, classifier"):
        TrainConfig(task="segmenter")
