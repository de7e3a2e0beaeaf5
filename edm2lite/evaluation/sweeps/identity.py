"""What a sweep's folder is for: everything that its scores depend on. Imports no torch."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edm2lite.config import ModelRef, plain
from edm2lite.config.cells import cell
from edm2lite.config.sweeps import SweepConfig
from edm2lite.errors import UserError
from edm2lite.files import create_json, write_json
from edm2lite.snapshots.download import file_hash
from edm2lite.snapshots.fetch import resolve
from edm2lite.snapshots.index import snapshots_until

FILE = "sweep.json"
_FREE = {  # what may change between two starts: more points, where things lie, what is said about them
    "title", "outdir", "trials", "published", "detector_files", "features", "keep_features", "models", "ref", "ref_data",
    "devices", "device",
}  # fmt: skip


def identity(cfg: SweepConfig, protocol: dict[str, Any]) -> dict[str, Any]:
    """Settings, what the metrics are, and hashes of the models.

    Args:
        cfg: The sweep.
        protocol: Everything besides the images that changes each metric.
    """
    settings = {name: value for name, value in plain(asdict(cfg)).items() if name not in _FREE}
    return {**settings, "protocol": protocol, "snapshots": _hashes(cfg)}


def _hashes(cfg: SweepConfig) -> dict[str, str]:
    """Hashes of the newest snapshot that each model is made of: another training under the same name has others."""
    table, found = cfg.table(), {}
    row = table.rows[-1]
    for nimg in row.guide_nimg:
        setting = cell(table, row, row.main_ema[0], row.guide_ema[0], nimg, row.weights[0])
        for _, ref in setting.parts:
            found[f"{ref.path} at {ref.nimg or 'its end'}"] = _hash(resolve(ref, cfg.models))
    return found


def _hash(ref: ModelRef) -> str:
    assert ref.path is not None
    return file_hash(snapshots_until(ref.path, ref.nimg)[-1].path if os.path.isdir(ref.path) else Path(ref.path))


def check_same(outdir: str, now: dict[str, Any], begun: bool) -> None:
    """Note what a folder is for, or compare it.

    Args:
        outdir: The folder.
        now: What it is to be for.
        begun: Whether it holds scores; without any it binds nobody.

    Raises:
        UserError: If it holds scores of another sweep; says what differs.
    """
    path = Path(outdir) / FILE
    if create_json(path, now):
        return
    try:
        before = json.loads(path.read_text())
    except ValueError as e:
        raise UserError(f"{path} is damaged ({e}); choose another outdir") from e
    if before == json.loads(json.dumps(now)):
        return
    if not begun:
        write_json(path, now)
        return
    raise UserError(
        f"{outdir} holds a sweep with {_difference(before, now)}; scores of both cannot be compared: choose another outdir"
    )


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    names = [name for name in {**before, **now} if before.get(name) != json.loads(json.dumps(now.get(name)))]
    shown = f"{names[0]} {_short(before.get(names[0]))}, now {_short(now.get(names[0]))}"
    return shown + (f" (and other {', '.join(names[1:])})" if names[1:] else "")


def _short(value: Any) -> str:
    shown = json.dumps(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
