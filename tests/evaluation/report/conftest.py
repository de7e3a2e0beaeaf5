"""Tables with values made up, of two small models that are there, and their report."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from edm2lite.config import ModelRef, Nimg, ReportConfig, SamplerConfig, TableConfig, TableRow, plain
from edm2lite.evaluation.report.page import write_report
from edm2lite.evaluation.score import Score
from edm2lite.evaluation.tables.results import Result, Table, save_table
from edm2lite.snapshots.files import SnapshotInfo, save_snapshot
from edm2lite.training.loggers import MetricsCSV
from edm2lite.training.watch_log import WatchLog
from tests.conftest import TINY, tiny_denoiser

METRICS = ("fid", "fd_dinov2", "is")
EMAS = (0.05, 0.1)
DETECTOR = {"detector": "inception-2015-12-05", "preprocessing": "tf1-bilinear-299", "weights_sha256": "67" * 32}


def write_run(folder: Path, seed: int) -> None:
    """A run directory with two snapshots at two EMA lengths, and what training wrote beside them."""
    info = SnapshotInfo(
        img_resolution=8, img_channels=1, label_dim=0, network=TINY, dataset="digits", licence="Apache-2.0"
    )
    for i, (nimg, ema) in enumerate((n, e) for n in (160, 320) for e in EMAS):
        tensors = tiny_denoiser(seed=seed + i).state_dict()
        save_snapshot(folder / "snapshots" / f"{nimg}-ema{ema}.safetensors", tensors, info.at(nimg, ema))
    metrics = MetricsCSV(folder / "metrics.csv")
    for nimg, loss in ((160, 0.5), (320, 0.25)):
        metrics.log_metrics({"loss": loss, "lr": 0.01}, step=nimg)
    WatchLog(folder / "watch.csv", setup="3f2ab1cd").add(160, 0.05, {"N": 40.0, "fd": 40.0, "fd_se": 2.0})


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> tuple[Path, Path]:
    """A main model and a smaller guide."""
    main, guide = (tmp_path_factory.mktemp("runs") / name for name in ("main", "guide"))
    write_run(main, 0)
    write_run(guide, 10)
    return main, guide


def rows_of(guide: Path | str) -> tuple[TableRow, ...]:
    return (
        TableRow(name="main alone", main_ema=EMAS, published={"fid": 2.56}),
        TableRow(
            name="guided <b>", guide=ModelRef(path=str(guide), nimg=Nimg(160)), main_ema=EMAS, guide_ema=EMAS,
            weights=(1.5, 2.0, 3.0), published={"fid": 1.34},
        ),
    )  # fmt: skip


def score(value: float) -> Score:
    loo = tuple(value + 0.001 * i for i in range(10))
    return Score(value=value, num_images=50, se=0.125, extrapolated=0.9 * value, leave_one_out=loo)


def make_table(
    main: Path | str, guide: Path | str, blocks: int = 3, metrics: Sequence[str] = METRICS, **changes: object
) -> Table:
    """A table whose best guided result is EMA 0.1, guide EMA 0.05, w = 2."""
    cfg = TableConfig(
        title="A & B", outdir="runs/table", main=ModelRef(path=str(main)), rows=rows_of(guide), num_images=50, metrics=METRICS,
        sampler=SamplerConfig(num_steps=2), batch_size=4, device="cpu", blocks=3,
    )  # fmt: skip
    results = [
        _result(row, main_ema, guide_ema, w, blocks, metrics)
        for row in cfg.rows for main_ema in row.main_ema for guide_ema in row.guide_ema for w in row.weights
    ]  # fmt: skip
    protocol = {m: {"metric": m, "detector": DETECTOR, "reference": "9f" * 16, "jackknife_groups": 10} for m in metrics}
    reference = {"file": "runs/ref.npz", "name": "digits", "num_images": 1797}
    return Table(results, {}, plain(asdict(replace(cfg, **changes))), tuple(metrics), protocol, reference)


def _result(
    row: TableRow, main_ema: float | None, guide_ema: float | None, w: float, blocks: int, metrics: Sequence[str]
) -> Result:
    distance = 3 + 10 * abs(0.1 - (main_ema or 0)) - (0 if w == 1 else 1 - (w - 2) ** 2) + (guide_ema or 0)
    scale = {"fid": 1, "fd_dinov2": 30, "is": -50}
    scores = {
        m: tuple(score(scale[m] * (distance + 0.1 * i) + 500 * (m == "is")) for i in range(blocks)) for m in metrics
    }
    nimg = None if row.alone else 160
    return Result(
        row=row.name, main_ema=main_ema, guide_ema=guide_ema, guide_nimg=nimg, weight=w, scores=scores, published=row.published,
    )  # fmt: skip


@pytest.fixture(scope="session")
def table(runs) -> Table:
    made = make_table(*runs)
    for guided in (False, True):
        made.confirmed[guided] = replace(made.best(guided), first_seed=150)
    return made


@pytest.fixture(scope="session")
def report(table, tmp_path_factory) -> Callable[..., str]:
    """Writes the report of a table and returns it."""

    def write(made: Table = table, **settings: object) -> str:
        folder = tmp_path_factory.mktemp("report")
        save_table(folder / "table", made)
        tables = (str(folder / "table"),)
        write_report(
            ReportConfig(tables=tables, out=str(folder / "r.html"), device="cpu", **{"seeds": "0-3", **settings})
        )
        return (folder / "r.html").read_text()

    return write


@pytest.fixture(scope="session")
def page(report) -> str:
    return report(title="T < U")
