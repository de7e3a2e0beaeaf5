"""One block of points of one setting: what decides its numbers, and how they are computed."""

import math
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from edm2lite.config import ModelRef, SamplerConfig, plain
from edm2lite.config.cells import Cell
from edm2lite.errors import UserError
from edm2lite.sampling.seeded import SeededStreams
from edm2lite.snapshots.files import fingerprint
from edm2lite.toy2d.divergence import exact_kl
from edm2lite.toy2d.models import is_exact, load
from edm2lite.toy2d.points import SHAPE, Guided2d
from edm2lite.toy2d.truth import ground_truth
from edm2lite.toy2d.yardstick import Yardstick

_PROBE = 100  # points that tell one yardstick from another


@dataclass(frozen=True, kw_only=True)
class Job:
    """A block of points of a setting.

    Attributes:
        cell: The setting; None: points of the exact distribution.
        classes: Whose distribution the points are compared with.
        sampler: Solver and noise levels.
        first_seed: Of the block.
        num_points: In the block, each with a seed of its own.
    """

    cell: Cell | None
    classes: str
    sampler: SamplerConfig
    first_seed: int
    num_points: int

    @property
    def seeds(self) -> range:
        """One a point."""
        return range(self.first_seed, self.first_seed + self.num_points)

    def identity(self) -> dict[str, Any]:
        """Everything that decides the numbers, as plain data."""
        return {
            "yardstick": _says(self.classes), "classes": self.classes, "seeds": [self.first_seed, self.num_points],
            **({"truth": True} if self.cell is None else _about(self.cell, self.sampler)),
        }  # fmt: skip

    def points(self) -> Tensor:
        """The points, [num_points, 2]."""
        if self.cell is None:
            generator = torch.Generator().manual_seed(self.first_seed)
            return ground_truth(self.classes).sample(self.num_points, _yardstick(self.classes).sigma, generator)
        return guided_pair(self.cell, self.sampler, self.classes)(self.seeds)


def guided_pair(cell: Cell, sampler: SamplerConfig, classes: str, dtype: torch.dtype = torch.float32) -> Guided2d:
    """The models of a setting, ready to sample.

    Raises:
        UserError: If one of them is missing, or asked for what the 2D example has not.
    """
    label = classes if cell.guidance.classifier.path is not None else "A"  # without a classifier it has no effect
    return Guided2d(cell.main, cell.guides, cell.guidance, sampler, label, dtype)


def measure_job(job: Job) -> dict[str, float]:
    """Every metric of the points of a job.

    Raises:
        UserError: If they diverged.
    """
    try:
        return _yardstick(job.classes).measure(job.points())
    except UserError as e:
        raise UserError(f"row {job.cell.row.name!r} at {job.cell.weight:g}: {e}" if job.cell else str(e)) from e


def exact_kl_job(job: Job) -> dict[str, float]:
    """KL(points || truth) of a deterministic sampler by the change of density, in float64, and its standard error.

    The points are those of the job, so that this tells how far the estimate from neighbours is off.
    """
    assert job.cell is not None
    pair = guided_pair(job.cell, job.sampler, job.classes, torch.float64)
    noise = SeededStreams(job.seeds).randn(SHAPE).double().flatten(1)
    found = exact_kl(lambda z: pair(job.seeds, z), noise, _yardstick(job.classes).logp)
    return {"kl": float(found.mean()), "se": float(found.std()) / math.sqrt(len(found))}


@cache
def _yardstick(classes: str) -> Yardstick:
    return Yardstick(classes)


@cache
def _says(classes: str) -> dict[str, float]:
    """What the yardstick says of some fixed points: if it is changed, everything is measured again."""
    yardstick = _yardstick(classes)
    points = ground_truth(classes).sample(_PROBE, 0.1, torch.Generator().manual_seed(0))
    return {name: float(f"{value:.6g}") for name, value in yardstick.measure(points).items()}


def _about(cell: Cell, sampler: SamplerConfig) -> dict[str, Any]:
    """A setting, its models by their weights."""
    how = ("weight", "interval", "schedule")
    guides = [{**_model(g), **{name: asdict(g)[name] for name in how}} for g in cell.guides]
    guidance = {"truncation": cell.guidance.truncation, "classifier": asdict(cell.guidance.classifier)}
    return plain({"main": _model(cell.main), "guides": guides, **guidance, "sampler": asdict(sampler)})


def _model(ref: ModelRef) -> dict[str, Any]:
    """What decides the output of a model, wherever its file lies."""
    weights = ref.path if is_exact(ref.path) else _fingerprint(ModelRef(path=ref.path, nimg=ref.nimg, ema=ref.ema))
    return {"weights": weights, "degradations": ref.degradations}


def forget_weights() -> None:
    """Let `Job.identity` look at the files of models again: it remembers what it saw."""
    _fingerprint.cache_clear()


@cache
def _fingerprint(ref: ModelRef) -> str:
    net = load(ref)
    assert isinstance(net, nn.Module)
    return fingerprint(net)
