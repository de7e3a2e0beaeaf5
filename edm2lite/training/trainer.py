"""Lightning's side of a run: its Trainer, its strategies, its data module."""

import logging
import warnings
from collections.abc import Sequence
from dataclasses import asdict

import lightning as L
import torch
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from torch.utils.data import DataLoader

from edm2lite.config import TrainConfig, TrainerConfig, plain
from edm2lite.data.datasets import Dataset
from edm2lite.data.positions import PositionDataset, PositionSampler
from edm2lite.errors import UserError
from edm2lite.interrupt import ignore_in_worker
from edm2lite.ranks import local_rank
from edm2lite.snapshots.files import SnapshotInfo
from edm2lite.training.callbacks import CheckpointWriter, LogWriter, Progress, SnapshotWriter
from edm2lite.training.loggers import make_loggers
from edm2lite.training.module import EDM2Module
from edm2lite.training.rundir import RunDir
from edm2lite.training.slurm import under_slurm


class PositionData(L.LightningDataModule):
    """Serves this rank's batches from the step on at which training stands."""

    def __init__(self, dataset: Dataset, cfg: TrainConfig):
        super().__init__()
        self.dataset, self.cfg = dataset, cfg

    def train_dataloader(self) -> DataLoader:
        trainer, cfg = self.trainer, self.cfg
        assert trainer is not None and isinstance(trainer.lightning_module, EDM2Module)
        first = trainer.lightning_module.first_step
        sampler = PositionSampler(first, cfg.training.batch_size, trainer.global_rank, trainer.world_size)
        return DataLoader(
            PositionDataset(self.dataset, cfg.training.seed, cfg.training.nu), batch_sampler=sampler, collate_fn=_whole_batch,
            num_workers=cfg.data.num_workers, pin_memory=torch.cuda.is_available(),
            persistent_workers=cfg.data.num_workers > 0, worker_init_fn=ignore_in_worker,
        )  # fmt: skip


def _whole_batch(batch: object) -> object:
    """`PositionDataset` hands out complete batches."""
    return batch


def make_trainer(
    cfg: TrainConfig, run: RunDir, info: SnapshotInfo, checkpoints: CheckpointWriter, others: Sequence[L.Callback] = ()
) -> L.Trainer:
    """Lightning's Trainer with our callbacks, and `others` after them; everything it would do by itself is off."""
    _quiet()
    t, total = cfg.training, cfg.training.total_nimg
    callbacks: list[L.Callback] = [
        SnapshotWriter(run, info, t.snapshot_nimg, total),
        LogWriter(cfg.logging.every_nimg, total),
        checkpoints,
        *others,
    ]
    if cfg.logging.progress_bar:
        callbacks.append(Progress(total))
    trainer = L.Trainer(
        accelerator=_accelerator(cfg.trainer.accelerator), devices=cfg.trainer.devices, num_nodes=cfg.trainer.num_nodes,
        strategy=_strategy(cfg.trainer), plugins=[SLURMEnvironment(auto_requeue=False)] if under_slurm() else None,
        precision="32-true", max_epochs=-1,
        callbacks=callbacks, logger=make_loggers(cfg.logging, run, plain(asdict(cfg))),
        enable_progress_bar=cfg.logging.progress_bar, enable_checkpointing=False, enable_model_summary=False,
        use_distributed_sampler=False,
    )  # fmt: skip
    # Lightning's SIGTERM handler talks to the other ranks from within, and hangs; ours is in place already.
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    if trainer.world_size != cfg.trainer.devices * cfg.trainer.num_nodes:
        raise UserError(
            f"{trainer.world_size} processes were started for {cfg.trainer.devices} x {cfg.trainer.num_nodes} devices "
            "(trainer.devices x trainer.num_nodes); start one a device"
        )
    return trainer


def _strategy(cfg: TrainerConfig) -> str | Strategy:
    """Lightning's strategy; its FSDP2 would by default shard over nodes alone."""
    if cfg.strategy != "fsdp":
        return cfg.strategy
    return ModelParallelStrategy(data_parallel_size=cfg.devices * cfg.num_nodes, tensor_parallel_size=1)


def check_devices(cfg: TrainerConfig) -> None:
    """Raise a UserError unless there are as many CUDA devices as asked for, where any are."""
    here = torch.cuda.device_count()
    if _accelerator(cfg.accelerator) == "gpu" and cfg.devices > here:
        raise UserError(
            f"trainer.devices is {cfg.devices}, but {here} CUDA devices are visible here; choose fewer, or "
            "trainer.accelerator cpu"
        )


def training_device(cfg: TrainerConfig) -> torch.device:
    """Where this process trains."""
    return torch.device("cuda", local_rank()) if _accelerator(cfg.accelerator) == "gpu" else torch.device("cpu")


def _accelerator(name: str) -> str:
    """ "auto" is a CUDA device or the CPU; nothing else computes in float64, which the weight normalisation needs."""
    return name if name != "auto" else "gpu" if torch.cuda.is_available() else "cpu"


def _quiet() -> None:
    """Silence hints that do not apply here; errors and our own messages stay."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*", ".*isinstance.treespec.*", ".*`max_epochs` was not set.*", ".*`srun` command is.*",
        ".*GPU available but not used.*",
    ):  # fmt: skip
        warnings.filterwarnings("ignore", message=message)
