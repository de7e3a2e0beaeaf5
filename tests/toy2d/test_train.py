"""Training on the 2D example: the recipe's points and loss, resuming, refusals."""

import os
import signal
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from edm2lite import load_denoiser
from edm2lite.cli import main
from edm2lite.commands import TOY2D
from edm2lite.config import ModelRef, Nimg, Toy2dTrainConfig
from edm2lite.errors import UserError
from edm2lite.snapshots.index import stored_snapshots
from edm2lite.toy2d import ground_truth
from edm2lite.toy2d.models import load
from edm2lite.toy2d.train import Trainee, score_matching_loss, train, training_points

BATCH = 64


def config(path, steps=6, **training):
    recipe = replace(
        Toy2dTrainConfig().training, batch_size=BATCH, total_nimg=Nimg(steps * BATCH), snapshot_nimg=Nimg(2 * BATCH),
        checkpoint_nimg=Nimg(3 * BATCH), ref_batches=4, **training,
    )  # fmt: skip
    return Toy2dTrainConfig(run_dir=str(path), width=8, training=recipe)


def recipe(**changes):
    return replace(Toy2dTrainConfig().training, **changes)


class ExactNet:
    """Stands in for a network that has learnt everything."""

    def score(self, x, sigma):
        return ground_truth("A").score(x, sigma)


def test_the_loss_of_the_exact_score_is_zero_and_that_of_another_its_squared_error():
    x, sigma, pull = training_points(ground_truth("A"), recipe(), 0)
    assert score_matching_loss(ExactNet(), x, sigma, pull) < 1e-20
    off = type("Off", (), {"score": lambda self, x, s: ground_truth("A").score(x, s) + 2 / s[:, None]})()
    assert float(score_matching_loss(off, x, sigma, pull)) == pytest.approx(8, rel=1e-4)  # sigma^2 (2/sigma)^2, twice


def test_noise_levels_and_points_are_those_of_the_recipe():
    x, sigma, pull = training_points(ground_truth("A"), recipe(batch_size=2**14), 3)
    assert sigma.log().mean() == pytest.approx(-2.3, abs=0.05) and sigma.log().std() == pytest.approx(1.5, abs=0.05)
    torch.testing.assert_close(
        pull[:200], sigma[:200, None].double() ** 2 * ground_truth("A").score(x[:200], sigma[:200])
    )
    assert (x[sigma < 0.01].double().mean(0) - ground_truth("A").sample(20_000).mean(0)).abs().max() < 0.1


def test_heavy_tailed_noise_has_the_variance_of_students_t():
    """Where noise is everything, x = sigma z / sqrt(kappa): its variance is sigma^2 nu / (nu - 2), and pull brings it back."""
    x, sigma, pull = training_points(ground_truth("A"), recipe(nu=5.0, P_mean=8.0, P_std=0.1, batch_size=2**16), 0)
    assert float((x / sigma[:, None]).var()) == pytest.approx(5 / 3, rel=0.05)
    torch.testing.assert_close(pull, -x, rtol=1e-2, atol=3)


def test_steps_and_seeds_have_points_of_their_own():
    truth = ground_truth("A")
    few = recipe(batch_size=8, total_nimg=Nimg(8), snapshot_nimg=Nimg(8), checkpoint_nimg=Nimg(8))
    first = training_points(truth, few, 0)[0]
    assert torch.equal(first, training_points(truth, few, 0)[0])
    assert not torch.equal(first, training_points(truth, few, 1)[0])
    assert not torch.equal(first, training_points(truth, replace(few, seed=1), 0)[0])


def test_it_learns():
    trainee = Trainee(replace(config("unused"), training=recipe(batch_size=256, ref_batches=100)))
    losses = [float(trainee.step()) for _ in range(150)]
    assert sum(losses[-20:]) < 0.65 * sum(losses[:20])


def test_continued_it_ends_with_the_same_bits(tmp_path):
    assert train(config(tmp_path / "whole")) == 0
    assert train(config(tmp_path / "parts", steps=3)) == 0
    assert train(config(tmp_path / "parts")) == 0
    names = [s.path.name for s in stored_snapshots(tmp_path / "whole")]
    assert len(names) == 3 * 2
    for name in names:
        whole, parts = (load_file(tmp_path / run / "snapshots" / name) for run in ("whole", "parts"))
        assert all(torch.equal(whole[k], parts[k]) for k in whole), name
    lines = (tmp_path / "parts" / "metrics.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["nimg", str(3 * BATCH), str(6 * BATCH)]


def test_stopped_by_a_signal_it_saves_and_goes_on(tmp_path, monkeypatch, capsys):
    step = Trainee.step

    def stopped(self):
        if self.steps == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self)

    monkeypatch.setattr(Trainee, "step", stopped)
    assert train(config(tmp_path / "run")) == 143
    assert f"stopped by SIGTERM at nimg {4 * BATCH}, the state is saved" in capsys.readouterr().err
    monkeypatch.setattr(Trainee, "step", step)
    assert train(config(tmp_path / "run")) == 0
    train(config(tmp_path / "whole"))
    paths = [tmp_path / run / "snapshots" / f"{6 * BATCH}-ema0.01.safetensors" for run in ("run", "whole")]
    stopped_weights, whole = map(load_file, paths)
    assert all(torch.equal(whole[k], stopped_weights[k]) for k in whole)


def test_a_signal_before_the_first_step_is_obeyed_after_it(tmp_path, monkeypatch):
    begun = Trainee.resume

    def signalled(self, run):
        os.kill(os.getpid(), signal.SIGTERM)
        begun(self, run)

    monkeypatch.setattr(Trainee, "resume", signalled)
    assert train(config(tmp_path / "run")) == 143
    assert [p.stem for p in (tmp_path / "run" / "checkpoints").iterdir()] == [str(BATCH)]


def test_numbers_that_are_not_finite_stop_it_before_the_update(tmp_path):
    cfg = replace(config("unused").training, ref_lr=1e30)
    trainee = Trainee(replace(config("unused"), training=cfg))
    trainee.step()
    before = {name: value.clone() for name, value in trainee.net.state_dict().items()}
    with pytest.raises(UserError, match=r"not finite at step 1 .*lower training\.ref_lr"):
        trainee.step()
    assert all(torch.equal(value, before[name]) for name, value in trainee.net.state_dict().items())
    with pytest.raises(UserError, match="not finite"):
        train(config(tmp_path / "run", ref_lr=1e30))
    assert not list((tmp_path / "run").glob("*/*.safetensors"))


def test_a_trained_model_is_found_by_time_and_any_ema_length(tmp_path):
    train(config(tmp_path / "run"))
    path = str(tmp_path / "run")
    stored = load(ModelRef(path=path, nimg=Nimg(4 * BATCH), ema=0.05))
    other = load(ModelRef(path=path, ema=0.03))
    x = torch.randn(5, 2, 1, 1)
    assert stored(x, 0.5).shape == x.shape
    assert not torch.equal(other(x, 0.5), load(ModelRef(path=path, ema=0.01))(x, 0.5))


def test_it_is_no_denoiser_of_images(tmp_path):
    train(config(tmp_path / "run"))
    with pytest.raises(UserError, match="holds an energy, but a denoiser is needed here; it is of the 2D example"):
        load_denoiser(tmp_path / "run")


def test_another_run_in_the_same_place_is_refused(tmp_path):
    train(config(tmp_path / "run", steps=2))
    with pytest.raises(UserError, match="width = 8, but this command sets 16"):
        train(replace(config(tmp_path / "run"), width=16))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--classes=C"], "'C'|C"),
        (["--width=0"], "width is 0; it must be positive"),
        (["--training.precision=bf16"], "training.precision has no part in the 2D example"),
        (["--training.batch_size=100"], "training.total_nimg is 16Mi"),
        (["--widht=3"], "did you mean width"),
    ],
)
def test_bad_options_end_with_one_line(capsys, tmp_path, options, says):
    assert main(TOY2D, "edm2lite toy2d", ["train", f"--run_dir={tmp_path}/run", *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and says.split("|")[-1] in error
    assert not (tmp_path / "run").exists()
