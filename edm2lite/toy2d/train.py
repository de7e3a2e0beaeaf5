"""Training of a model of the 2D example by score matching (2024b, Appendix C)."""

import signal
import sys
from collections.abc import Generator
from contextlib import closing
from itertools import count

import numpy as np
import torch
from torch import Tensor

from edm2lite.background import ahead
from edm2lite.config import NetworkConfig, Nimg, Toy2dTrainConfig, TrainingConfig
from edm2lite.interrupt import Interrupt
from edm2lite.network.energy import Energy
from edm2lite.network.layers import normalize_weights_
from edm2lite.progress import progress_bar
from edm2lite.snapshots.files import SnapshotInfo, save_snapshot
from edm2lite.snapshots.index import snapshot_name
from edm2lite.toy2d.truth import GroundTruth, ground_truth
from edm2lite.training.callbacks import due
from edm2lite.training.checkpoint import CheckpointInfo, collect, load_checkpoint, parts, write_checkpoint
from edm2lite.training.learning_rate import learning_rate
from edm2lite.training.lock import run_lock
from edm2lite.training.loggers import MetricsCSV
from edm2lite.training.loss import noise_levels
from edm2lite.training.module import NonFiniteError
from edm2lite.training.power_ema import PowerEMA
from edm2lite.training.rundir import RunDir
from edm2lite.training.start import newest_whole_checkpoint

_LOGGED = 64  # steps a line of the log


class Trainee:
    """A network in training, with everything that a step changes.

    Args:
        cfg: What is trained, and how.

    Attributes:
        net: The network.
        nimg: Points seen.
    """

    def __init__(self, cfg: Toy2dTrainConfig):
        self.cfg, self.recipe, self.nimg = cfg, cfg.training, 0
        with torch.random.fork_rng():
            torch.manual_seed(self.recipe.seed)
            self.net = Energy(1, 2, 0, NetworkConfig(model_channels=cfg.width))
        normalize_weights_(self.net)
        self.truth = ground_truth(cfg.classes, torch.float32)
        self.optimizer = torch.optim.Adam(self.net.parameters(), betas=self.recipe.betas)
        self.ema = PowerEMA(self.net, self.recipe.ema_sigma_rel)
        self._points: Generator[tuple[Tensor, Tensor, Tensor], None, None] | None = None

    @property
    def steps(self) -> int:
        """Steps taken."""
        return self.nimg // self.recipe.batch_size

    def step(self) -> Tensor:
        """One step of the recipe, in the order of the package's trainings; returns the loss.

        Raises:
            NonFiniteError: If loss or gradients are not finite; the weights are those of before the step.
        """
        r = self.recipe
        if self._points is None:  # not before a checkpoint says where to begin
            self._points = ahead(training_points(self.truth, r, step) for step in count(self.steps))
        loss = score_matching_loss(self.net, *next(self._points))
        self.optimizer.zero_grad()
        loss.backward()
        self._stop_if_nonfinite(loss)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.nimg, r.batch_size, r.ref_lr, r.ref_batches, r.rampup_nimg)
        self.optimizer.step()
        self.nimg += r.batch_size
        self.ema.update(self.nimg, r.batch_size)
        normalize_weights_(self.net)
        return loss.detach()

    def _stop_if_nonfinite(self, loss: Tensor) -> None:
        gradients = [p.grad.norm() for p in self.net.parameters() if p.grad is not None]
        if not torch.stack([loss.detach(), *gradients]).isfinite().all():
            raise NonFiniteError(
                f"loss or gradients not finite at step {self.steps} (nimg {Nimg(self.nimg)}); the weights were not updated. "
                "Begin another run_dir with a lower training.ref_lr"
            )

    def close(self) -> None:
        """End the thread that makes the next step's points."""
        if self._points is not None:
            self._points.close()

    def resume(self, run: RunDir) -> None:
        """Go on from the newest whole checkpoint, if there is one."""
        if found := newest_whole_checkpoint(run):
            path, info = found
            load_checkpoint(path, self.net, self.ema, self.optimizer, info.nimg // self.recipe.batch_size)
            self.nimg = info.nimg

    def save_checkpoint(self, run: RunDir) -> None:
        """Write everything needed to resume, and keep the one before."""
        for old in run.list_checkpoints()[1:]:
            old.unlink()
        state = collect(parts(self.net, self.ema, self.optimizer), keep=True)
        write_checkpoint(run.checkpoint(self.nimg), state, CheckpointInfo(nimg=self.nimg))

    def save_snapshots(self, run: RunDir) -> None:
        """Write the averaged weights of every profile."""
        info = SnapshotInfo(
            img_resolution=1, img_channels=2, label_dim=0, network=self.net.network, kind="energy",
            dataset=f"toy2d {self.cfg.classes}",
        )  # fmt: skip
        for sigma_rel in self.recipe.ema_sigma_rel:
            path = run.snapshots / snapshot_name(self.nimg, sigma_rel)
            save_snapshot(path, self.ema.named_average(sigma_rel), info.at(self.nimg, sigma_rel))


def training_points(truth: GroundTruth, recipe: TrainingConfig, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """The batch of a step, from a random stream keyed by (seed, step): points, their noise levels, what is learnt there.

    With heavy-tailed noise (nu) a point has the noise sigma / sqrt(kappa) with kappa ~ chi2(nu) / nu, as in
    `edm2lite.data.positions`; the network is told sigma and learns E[clean | x, kappa], whose mean over kappa is its aim.

    Returns:
        x [N, 2]; sigma [N]; E[clean | x] - x = level^2 grad_x log p(x; level), [N, 2], at the point's true noise level.
    """
    rng = np.random.Generator(np.random.Philox(key=np.array([recipe.seed, step], np.uint64)))
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    n = recipe.batch_size
    sigma = noise_levels(torch.randn(n, generator=generator), recipe.P_mean, recipe.P_std)
    level = sigma
    if recipe.nu is not None:
        level = sigma / torch.from_numpy(np.sqrt(rng.chisquare(recipe.nu, n) / recipe.nu)).float()
    x = truth.sample(n, level, generator)
    return x, sigma, level[:, None] ** 2 * truth.score(x, level)


def score_matching_loss(net: Energy, x: Tensor, sigma: Tensor, pull: Tensor) -> Tensor:
    """Mean over points of |D(x; sigma) - x - pull|^2 / sigma^2, which is sigma^2 |score error|^2 for Gaussian noise."""
    variance = sigma[:, None] ** 2
    return ((variance * net.score(x, sigma) - pull).square() / variance).sum(1).mean()


def train(cfg: Toy2dTrainConfig) -> int:
    """Train, or go on with the run in `cfg.run_dir`; writes snapshots, checkpoints and the log there.

    Returns:
        Exit status: 0; 128 and the signal's number after SIGTERM or SIGUSR1, the state being saved.

    Raises:
        UserError: If the directory holds a different run, or numbers stop being finite (NonFiniteError).
        KeyboardInterrupt: After Ctrl-C, the state being saved.
    """
    run = RunDir(cfg.run_dir)
    run.check(cfg)
    with run_lock(run.path), Interrupt() as interrupt:
        run.begin(cfg)
        with closing(Trainee(cfg)) as trainee:
            trainee.resume(run)
            stopped_by = _train(trainee, run, interrupt)
    return _end(trainee, run, stopped_by)


def _train(trainee: Trainee, run: RunDir, interrupt: Interrupt) -> int:
    """Step until the end, or until a signal, whose number it returns, and save; 0: the end."""
    recipe, log, losses = trainee.recipe, MetricsCSV(run.metrics), list[Tensor]()
    log.keep_until(trainee.nimg)
    with progress_bar(recipe.total_nimg, f"train {run.path.name}", initial=trainee.nimg, unit="point") as bar:
        while trainee.nimg < recipe.total_nimg:
            losses.append(trainee.step())
            bar.update(recipe.batch_size)
            if due(trainee.nimg, _LOGGED * recipe.batch_size, recipe.total_nimg):
                loss = float(torch.stack(losses).mean())
                log.log_metrics({"loss": loss, "lr": trainee.optimizer.param_groups[0]["lr"]}, step=trainee.nimg)
                bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
                losses.clear()
            if due(trainee.nimg, recipe.snapshot_nimg, recipe.total_nimg):
                trainee.save_snapshots(run)
            stopped_by = interrupt.signum  # read once: a signal that comes later is for the step after
            if stopped_by or due(trainee.nimg, recipe.checkpoint_nimg, recipe.total_nimg):
                trainee.save_checkpoint(run)
            if stopped_by:
                return stopped_by
    return 0


def _end(trainee: Trainee, run: RunDir, signum: int) -> int:
    """Say where the training stands; the exit status."""
    if trainee.nimg >= trainee.recipe.total_nimg:
        print(f"{run.path}: trained to nimg {Nimg(trainee.nimg)}")
        return 0
    name = signal.Signals(signum).name
    print(f"{run.path}: stopped by {name} at nimg {Nimg(trainee.nimg)}, the state is saved", file=sys.stderr)
    if signum == signal.SIGINT:
        raise KeyboardInterrupt
    return 128 + signum
