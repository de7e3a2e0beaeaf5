"""Tables made by hand, and a meter that measures nothing."""

from types import SimpleNamespace

import pytest
import torch

from edm2lite.config import Metric, ModelRef, SamplerConfig, TableConfig, TableRow
from edm2lite.evaluation.score import Score
from edm2lite.evaluation.tables import scorer
from edm2lite.evaluation.tables.results import Result, Table
from edm2lite.files import digest


def scores(*values, se=None, count=10, leave_one_out=()):
    return tuple(Score(value=v, num_images=count, se=se, leave_one_out=leave_one_out) for v in values)


def result(*values, row="r", guide=None, weight=1.0, metrics=None, **changes):
    """A result by metric "fd", or by those named."""
    metrics = {"fd": scores(*values)} if metrics is None else metrics
    return Result(row=row, main_ema=0.05, guide_ema=guide, guide_nimg=None, weight=weight, scores=metrics, **changes)


def table(*results, **changes):
    metrics = tuple(results[0].scores) if results else ("fd",)
    protocol = {m: {"metric": m, "detector": {"detector": "a-net"}} for m in metrics}
    parts = {"results": list(results), "confirmed": {}, "config": {"title": "T"}, "metrics": metrics}
    return Table(
        **parts | {"protocol": protocol, "reference": {"file": "r.npz", "num_images": 99, "name": "digits"}} | changes
    )


@pytest.fixture
def paper_like():
    """Two metrics, two rows, published values, a name that every format must escape."""
    nasty = r"50 % <b>_#|$ & \x{y}~^"
    alone = result(
        row="main", metrics={"fid": scores(3.0, 3.2, 3.1, se=0.05), "is": scores(9.0, 9.2, 9.1)}, published={"fid": 2.9}
    )
    weak = result(row=nasty, guide=0.1, weight=1.5, published={"fid": 1.0},
                  metrics={"fid": scores(2.0, 2.2, 2.1, se=0.05), "is": scores(9.0, 9.25, 9.12)})  # fmt: skip
    strong = result(row=nasty, guide=0.1, weight=2.0, published={"fid": 1.0},
                    metrics={"fid": scores(1.9, 2.3, 2.15, se=0.05), "is": scores(5.0, 5.2, 5.1)})  # fmt: skip
    return table(alone, weak, strong)


class StubMeter:
    """Stands in for `Meter`: a value follows from everything that the images depend on, and none is made."""

    measured: list = []  # noqa: RUF012 - shared on purpose

    def __init__(self, cfg):
        self.cfg, self.device = cfg, torch.device("cpu")
        self.metrics = cfg.parsed_metrics() or (Metric("fd"),)
        self.reference = SimpleNamespace(path=cfg.ref, data={"name": "digits", "num_images": 99})

    def protocol(self, metric):
        return {"metric": metric.name, "detector": {"detector": "stub"}, "reference": self.cfg.ref}

    def measure(self, source, keys, metrics=None, bar=None):
        self.measured.append((tuple(keys), tuple(m.name for m in metrics)))
        value = lambda m: int(digest([source.identity, keys[0], len(keys), m.name])[:8], 16) / 2**32  # noqa: E731
        return {m.name: Score(value=value(m), num_images=len(keys)) for m in metrics}


@pytest.fixture
def measured(monkeypatch):
    """Blocks that the stub measured: (seeds, names of metrics)."""
    monkeypatch.setattr(scorer, "Meter", StubMeter)
    monkeypatch.setattr(StubMeter, "measured", [])
    return StubMeter.measured


@pytest.fixture
def cfg(tiny_run, tmp_path):
    """Two rows, six settings, three blocks."""
    guide = ModelRef(path=str(tiny_run), nimg=160)
    rows = (
        TableRow(name="main alone", main_ema=(0.05, 0.08)),
        TableRow(name="earlier", guide=guide, main_ema=(0.08,), guide_ema=(0.1, 0.05), weights=(1.5, 2.0)),
    )
    return TableConfig(
        title="Tiny", outdir=str(tmp_path / "out"), ref="ref.npz", main=ModelRef(path=str(tiny_run)), rows=rows,
        sampler=SamplerConfig(num_steps=3), num_images=12, blocks=3, batch_size=6, device="cpu",
    )  # fmt: skip
