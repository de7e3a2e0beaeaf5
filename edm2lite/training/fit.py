"""One training run from configuration to snapshots."""

import signal
import sys
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import torch
from lightning.pytorch.utilities import rank_zero_only

from edm2lite.config import Nimg, TrainConfig
from edm2lite.data.datasets import Dataset, fingerprint, load_dataset
from edm2lite.errors import UserError
from edm2lite.interrupt import Interrupt
from edm2lite.network.denoiser import Denoiser
from edm2lite.network.precision import compute_dtype
from edm2lite.snapshots.files import SnapshotInfo
from edm2lite.training.callbacks import CheckpointWriter
from edm2lite.training.checkpoint import CheckpointInfo, load_checkpoint, newest_whole_checkpoint
from edm2lite.training.initial import initialize
from edm2lite.training.lock import run_lock
from edm2lite.training.module import EDM2Module
from edm2lite.training.rundir import RunDir, preflight
from edm2lite.training.slurm import requeue, under_slurm
from edm2lite.training.trainer import PositionData, make_trainer


def fit(cfg: TrainConfig, interrupt: Interrupt | None = None) -> int:
    """Train, or go on with the run in `cfg.run_dir`; writes snapshots, checkpoints and the log there.

    Args:
        cfg: The run.
        interrupt: Signals that ask to stop, if the caller handles them already.

    Returns:
        Exit status: 0, also where the job went back to SLURM's queue (SIGUSR1); 143 after SIGTERM.

    Raises:
        UserError: If the configuration cannot be run, or the directory holds a different run.
        NonFiniteError: If loss or gradients stop being finite.
        KeyboardInterrupt: After Ctrl-C, the state being saved.
    """
    preflight(cfg)
    if cfg.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError("trainer.accelerator is gpu, but no CUDA device is here; choose cpu or auto")
    dataset, run = load_dataset(cfg.data), RunDir(cfg.run_dir)
    info = SnapshotInfo(
        img_resolution=dataset.img_resolution, img_channels=dataset.img_channels, label_dim=dataset.label_dim,
        network=cfg.network, encoder=dataset.encoder, dataset=dataset.name,
    )  # fmt: skip
    torch.manual_seed(cfg.training.seed)
    denoiser = info.denoiser().to(memory_format=torch.channels_last)  # where convolutions are fastest
    denoiser.compute_dtype = compute_dtype(cfg.training.precision)
    with run_lock(run.path), nullcontext(interrupt) if interrupt else Interrupt() as stop:
        rank_zero_only(run.begin)(cfg)
        return _fit(cfg, run, info, denoiser, dataset, stop)


def _fit(
    cfg: TrainConfig, run: RunDir, info: SnapshotInfo, denoiser: Denoiser, dataset: Dataset, interrupt: Interrupt
) -> int:
    """Train from the newest whole checkpoint, or from the beginning."""
    found, restore, data = newest_whole_checkpoint(run), None, fingerprint(dataset)
    resumed = found[1] if found else CheckpointInfo(nimg=0, data=data)
    first_step = resumed.nimg // cfg.training.batch_size
    if found:
        _check_data(resumed.data, data, cfg)
        restore = partial(load_checkpoint, found[0], steps=first_step)
    elif cfg.init_from is not None:
        resumed = replace(resumed, licence=initialize(denoiser, cfg.init_from))
    info = replace(info, licence=resumed.licence)
    checkpoints = CheckpointWriter(run, resumed, cfg.training.checkpoint_nimg, cfg.training.total_nimg, interrupt)
    trainer = make_trainer(cfg, run, info, checkpoints)
    module = EDM2Module(denoiser, cfg.training, first_step, restore)
    module.nonfinite_gradients += resumed.nonfinite_gradients
    try:
        trainer.fit(module, datamodule=PositionData(dataset, cfg, first_step))
    except SystemExit as e:  # Lightning's answer to Ctrl-C
        raise KeyboardInterrupt from e
    return _end(run, module, cfg.training.total_nimg, checkpoints.stopped_by)


def _end(run: RunDir, module: EDM2Module, total_nimg: int, stopped_by: int) -> int:
    """Say where the training stands; the exit status."""
    first = module.global_rank == 0
    if module.nimg >= total_nimg:
        if first:
            print(f"{run.path}: trained to nimg {Nimg(module.nimg)}; sample with: sample.py --main.path {run.path}")
        return 0
    if first:
        name = signal.Signals(stopped_by).name
        print(f"{run.path}: stopped by {name} at nimg {Nimg(module.nimg)}, the state is saved", file=sys.stderr)
    if stopped_by == signal.SIGINT:
        raise KeyboardInterrupt
    if stopped_by == signal.SIGUSR1:
        if first and under_slurm():
            requeue()
        return 0
    return 128 + stopped_by


def _check_data(before: str, now: str, cfg: TrainConfig) -> None:
    if before != now:
        raise UserError(
            f"{cfg.run_dir} was trained on other data than {cfg.data.path or cfg.data.name} holds (fingerprint {before[:12]}, "
            f"now {now[:12]}); continue with the same data, or choose another --run_dir"
        )
