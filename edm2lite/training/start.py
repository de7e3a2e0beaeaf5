"""Where a training begins: at the newest whole checkpoint, at the weights of another model, or at random ones."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from edm2lite.config import TrainConfig
from edm2lite.errors import UserError
from edm2lite.training.checkpoint import CheckpointInfo, DamagedError, load_checkpoint, verify_checkpoint
from edm2lite.training.initial import initialize
from edm2lite.training.module import EDM2Module
from edm2lite.training.rundir import RunDir
from edm2lite.training.together import on_rank_zero


class Start:
    """Puts a module where its run stands, once its weights lie where they will stay; all ranks take part.

    Rank 0 alone looks for checkpoints: on a network file system ranks may see different files, and would train apart.

    Args:
        cfg: The run.
        run: Its directory.
        data: Fingerprint of the dataset.
        encoder: Specification of its encoder.
    """

    def __init__(self, cfg: TrainConfig, run: RunDir, data: str, encoder: dict[str, Any]):
        self.cfg, self.run, self.data, self.encoder = cfg, run, data, encoder

    def __call__(self, module: EDM2Module) -> CheckpointInfo:
        """Fill weights, averages and optimizer; set how many steps are left. Returns where the run stands."""
        found, training = on_rank_zero(module.trainer, lambda: newest_whole_checkpoint(self.run)), self.cfg.training
        info = found[1] if found else CheckpointInfo(nimg=0, data=self.data)
        steps = info.nimg // training.batch_size
        if found:
            self._check_data(info.data)
            load_checkpoint(found[0], module.net, module.ema, module.trainer.optimizers[0], steps)
        elif self.cfg.init_from is not None:
            info = replace(info, licence=initialize(module.net, self.cfg.init_from, self.encoder))
        left = max(training.total_nimg // training.batch_size - steps, 0)
        module.trainer.fit_loop.epoch_loop.max_steps = left
        return info

    def _check_data(self, before: str) -> None:
        if before != self.data:
            data = self.cfg.data.path or self.cfg.data.name
            raise UserError(
                f"{self.run.path} was trained on other data than {data} holds (fingerprint {before[:12]}, now "
                f"{self.data[:12]}); continue with the same data, or choose another --run_dir"
            )


def newest_whole_checkpoint(run: RunDir) -> tuple[Path, CheckpointInfo] | None:
    """The newest checkpoint that agrees with its checksums; damaged ones are named and put aside. None: a new run.

    Raises:
        UserError: If all are damaged, or the newest cannot be read for another reason.
    """
    found, problem = run.list_checkpoints(), ""
    for path in found:
        try:
            return path, verify_checkpoint(path)
        except DamagedError as e:
            problem = str(e)
            if path != found[-1]:
                print(f"{e}; put aside, going on from the one before", file=sys.stderr)
                os.replace(path, f"{path}.damaged")
    if problem:
        raise UserError(f"{problem}, and there is no other; put a copy in its place, or begin another --run_dir")
    return None
