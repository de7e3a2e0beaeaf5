"""One training run from configuration to snapshots."""

import logging
import pickle
import warnings
from dataclasses import asdict
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import DataLoader

from edm2lite.config import Nimg, TrainConfig, plain
from edm2lite.data.datasets import Dataset, load_dataset
from edm2lite.data.positions import PositionDataset, PositionSampler
from edm2lite.errors import UserError
from edm2lite.network.precision import compute_dtype
from edm2lite.snapshots.files import SnapshotInfo, first_line
from edm2lite.training.callbacks import CheckpointWriter, LogWriter, Progress, SnapshotWriter
from edm2lite.training.loggers import make_loggers
from edm2lite.training.module import EDM2Module
from edm2lite.training.rundir import RunDir, preflight


class PositionData(L.LightningDataModule):
    """Serves this rank's batches from the step at which training stands."""

    def __init__(self, dataset: Dataset, cfg: TrainConfig):
        super().__init__()
        self.dataset, self.cfg = dataset, cfg

    def train_dataloader(self) -> DataLoader:
        trainer, cfg = self.trainer, self.cfg
        assert trainer is not None
        sampler = PositionSampler(trainer.global_step, cfg.training.batch_size, trainer.global_rank, trainer.world_size)
        return DataLoader(
            PositionDataset(self.dataset, cfg.training.seed), batch_sampler=sampler, collate_fn=_whole_batch,
            num_workers=cfg.data.num_workers, pin_memory=torch.cuda.is_available(),
            persistent_workers=cfg.data.num_workers > 0,
        )  # fmt: skip


def _whole_batch(batch: object) -> object:
    """`PositionDataset` hands out complete batches."""
    return batch


def fit(cfg: TrainConfig) -> None:
    """Train, or go on with the run in `cfg.run_dir`; writes snapshots, checkpoints and the log there.

    Raises:
        UserError: If the configuration cannot be run, or the directory holds a different run.
        NonFiniteError: If loss or gradients stop being finite.
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
    rank_zero_only(run.begin)(cfg)
    latest = run.latest_checkpoint()
    if latest:
        check_checkpoint(latest[1])
    trainer = make_trainer(cfg, run, info, resume_nimg=latest[0] if latest else 0)
    module, data = EDM2Module(denoiser, cfg.training), PositionData(dataset, cfg)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=latest and str(latest[1]))
    except SystemExit as e:  # Lightning's answer to Ctrl-C
        raise KeyboardInterrupt from e
    if trainer.is_global_zero:
        print(f"{run.path}: trained to nimg {Nimg(module.nimg)}; sample with: sample.py --main.path {run.path}")


def check_checkpoint(path: Path) -> None:
    """Raise a UserError that says what to do if a checkpoint cannot be read."""
    try:
        torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as e:
        raise UserError(f"checkpoint {path} is damaged ({first_line(e)}); put a copy in its place, or delete it") from e


def make_trainer(cfg: TrainConfig, run: RunDir, info: SnapshotInfo, resume_nimg: int) -> L.Trainer:
    """Lightning's Trainer with our callbacks; everything it would do by itself is off."""
    _quiet()
    t, total = cfg.training, cfg.training.total_nimg
    callbacks: list[L.Callback] = [
        SnapshotWriter(run, info, t.snapshot_nimg, total),
        LogWriter(cfg.logging.every_nimg, total),
        CheckpointWriter(run, t.checkpoint_nimg, total),
    ]
    if cfg.logging.progress_bar:
        callbacks.append(Progress(total))
    return L.Trainer(
        accelerator=_accelerator(cfg.trainer.accelerator), devices=cfg.trainer.devices, num_nodes=cfg.trainer.num_nodes,
        strategy=cfg.trainer.strategy, precision="32-true", max_steps=total // t.batch_size, max_epochs=-1,
        callbacks=callbacks, logger=make_loggers(cfg.logging, run, resume_nimg, plain(asdict(cfg))),
        enable_progress_bar=cfg.logging.progress_bar, enable_checkpointing=False, enable_model_summary=False,
        use_distributed_sampler=False, barebones=False, log_every_n_steps=1,
    )  # fmt: skip


def _accelerator(name: str) -> str:
    """ "auto" is a CUDA device or the CPU; nothing else computes in float64, which the weight normalisation needs."""
    return name if name != "auto" else "gpu" if torch.cuda.is_available() else "cpu"


def _quiet() -> None:
    """Silence hints that do not apply here; errors and our own messages stay."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (".*does not have many workers.*", ".*isinstance.treespec.*", ".*`max_epochs` was not set.*"):
        warnings.filterwarnings("ignore", message=message)
