"""One training run from configuration to snapshots."""

import os
import signal
import sys
from contextlib import nullcontext

import torch

from edm2lite.config import Nimg, TrainConfig
from edm2lite.data.datasets import Dataset, fingerprint, load_dataset
from edm2lite.interrupt import Interrupt
from edm2lite.network.classifier import Network
from edm2lite.network.energy import Energy
from edm2lite.ranks import is_first_rank
from edm2lite.snapshots.files import SnapshotInfo
from edm2lite.training.callbacks import CheckpointWriter
from edm2lite.training.lock import run_lock
from edm2lite.training.module import EDM2Module
from edm2lite.training.prepare import prepare
from edm2lite.training.rundir import RunDir, preflight
from edm2lite.training.slurm import in_batch_job, requeue, under_slurm
from edm2lite.training.start import Start
from edm2lite.training.together import abandon
from edm2lite.training.trainer import PositionData, check_devices, make_trainer, training_device
from edm2lite.training.watch import Watch, Watcher


def fit(cfg: TrainConfig, interrupt: Interrupt | None = None, watcher: Watcher | None = None) -> int:
    """Train, or go on with the run in `cfg.run_dir`; writes snapshots, checkpoints and the log there.

    Args:
        cfg: The run.
        interrupt: Signals that ask to stop, if the caller handles them already.
        watcher: Who looks at the run on the way, if `cfg.watch` says so: edm2lite.evaluation.watch.PairWatcher(cfg).

    Returns:
        Exit status: 0, also where the job went back to SLURM's queue (SIGUSR1); 143 after SIGTERM.

    Raises:
        UserError: If the configuration cannot be run, or the directory holds a different run.
        NonFiniteError: If loss or gradients stop being finite; nothing is written of that step or later.
        KeyboardInterrupt: After Ctrl-C, the state being saved.
    """
    if cfg.watch.on and watcher is None:
        raise ValueError(
            "cfg.watch.every_nimg is set, so fit needs a watcher: edm2lite.evaluation.watch.PairWatcher(cfg)"
        )
    preflight(cfg)
    check_devices(cfg.trainer)
    dataset, run = load_dataset(cfg.data), RunDir(cfg.run_dir)
    info = SnapshotInfo(
        img_resolution=dataset.img_resolution, img_channels=dataset.img_channels, label_dim=dataset.label_dim,
        network=cfg.network, encoder=dataset.encoder, dataset=dataset.name, kind=cfg.task,
    )  # fmt: skip
    torch.manual_seed(cfg.training.seed)
    net = info.build()
    assert not isinstance(net, Energy)  # the 2D example has a training of its own
    prepare(net, cfg.training, training_device(cfg.trainer))
    lock = run_lock(run.path) if cfg.trainer.lock else nullcontext()
    with lock, nullcontext(interrupt) if interrupt else Interrupt() as stop:
        if is_first_rank():
            run.begin(cfg)
        return _fit(cfg, run, info, net, dataset, stop, watcher)


def _fit(
    cfg: TrainConfig, run: RunDir, info: SnapshotInfo, net: Network, dataset: Dataset, interrupt: Interrupt,
    watcher: Watcher | None,
) -> int:  # fmt: skip
    """Train on from where the run stands."""
    checkpoints = CheckpointWriter(run, cfg.training.checkpoint_nimg, cfg.training.total_nimg)
    watch = [Watch(watcher, cfg, run, info, interrupt, checkpoints)] if watcher is not None and cfg.watch.on else []
    trainer = make_trainer(cfg, run, info, checkpoints, watch)
    module = EDM2Module(net, cfg.training, Start(cfg, run, fingerprint(dataset), info.encoder), interrupt)
    try:
        trainer.fit(module, datamodule=PositionData(dataset, cfg))
    except SystemExit as e:  # Lightning's answer to Ctrl-C
        raise KeyboardInterrupt from e
    except Exception:
        abandon()
        raise
    return _end(cfg, run, module, checkpoints.stopped_by)


def _end(cfg: TrainConfig, run: RunDir, module: EDM2Module, stopped_by: int) -> int:
    """Say where the training stands; the exit status. Rank 0 speaks for ranks that Lightning started."""
    if module.global_rank != 0 and "RANK" not in os.environ and not under_slurm():
        return 0  # Lightning kills rank 0 as soon as it sees another status
    first = module.global_rank == 0
    if module.nimg >= cfg.training.total_nimg:
        if first:
            option = "--main.path" if cfg.task == "denoiser" else "--guidance.classifier.path"
            print(f"{run.path}: trained to nimg {Nimg(module.nimg)}; sample with: sample.py {option} {run.path}")
        return 0
    if first:
        name = signal.Signals(stopped_by).name
        print(f"{run.path}: stopped by {name} at nimg {Nimg(module.nimg)}, the state is saved", file=sys.stderr)
    if stopped_by == signal.SIGINT:
        raise KeyboardInterrupt
    if stopped_by == signal.SIGUSR1:
        if first and in_batch_job():
            requeue()
        return 0
    return 128 + stopped_by
