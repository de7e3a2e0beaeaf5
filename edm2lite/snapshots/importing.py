"""NVIDIA's pickles as our snapshots. The plan is made from file names and needs no torch; the weights come after it."""

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edm2lite.config import Nimg
from edm2lite.config.importing import ImportConfig
from edm2lite.errors import UserError
from edm2lite.files import sha256
from edm2lite.progress import progress_bar
from edm2lite.snapshots.download import is_url
from edm2lite.snapshots.fetch import locate
from edm2lite.snapshots.index import snapshot_name
from edm2lite.snapshots.once import one_at_a_time
from edm2lite.snapshots.published import model_name, parse_file_name

if TYPE_CHECKING:
    from edm2lite.snapshots.files import SnapshotInfo

PART = "snapshots.part"  # post-hoc EMA from half of the snapshots would be wrong, so they appear together


@dataclass(frozen=True)
class Import:
    """One file to convert; time and EMA length as far as they are known."""

    source: Path
    dest: Path
    nimg: Nimg | None
    ema: float | None


def import_snapshots(cfg: ImportConfig) -> None:
    """Convert one file, or all raw snapshots of a model into a run directory; what is there and whole is not made again.

    Raises:
        UserError: Before anything is written, if names do not say time and EMA length, or models are mixed; later for damaged
            files, all of them named: a run directory then gets its snapshots once all are whole.
    """
    imports = plan(cfg)
    if cfg.dest.endswith(".safetensors"):
        _convert(imports, cfg.dtype)
        return
    run_dir = Path(cfg.dest)
    with one_at_a_time(run_dir / ".import.lock", f"it imports into {run_dir}"):
        _check_unfinished(run_dir, imports)
        _convert(imports, cfg.dtype)
        _publish(run_dir)


def plan(cfg: ImportConfig) -> list[Import]:
    """What is to be converted to where, from file names alone.

    Raises:
        UserError: See `import_snapshots`.
    """
    sources, many = _sources(cfg)
    if cfg.dest.endswith(".safetensors"):
        if many:
            raise UserError(
                f"{cfg.source} may be many snapshots, but dest {cfg.dest} is one file; name a run directory"
            )
        return [Import(sources[0], Path(cfg.dest), *_named(sources[0], cfg))]
    if many:
        _refuse_mixture(cfg.source, sources)
    return [_into_run(source, cfg) for source in sources]


def _sources(cfg: ImportConfig) -> tuple[list[Path], bool]:
    """The files to read, and whether there may be several."""
    source = cfg.source
    if is_url(source) or model_name(source) is not None:
        source = locate(source, cfg.nimg, cfg.ema)
    if os.path.isfile(source):
        if not source.endswith(".pkl"):
            raise UserError(f"{source} is no .pkl file; only NVIDIA's pickles are imported")
        return [Path(source)], False
    pattern = os.path.join(glob.escape(source), "*.pkl") if os.path.isdir(source) else source
    found = sorted(Path(path) for path in glob.glob(pattern) if path.endswith(".pkl"))
    if not found:
        raise UserError(f"{source} names no .pkl files; give one, a folder of them, or a pattern in quotes")
    if cfg.nimg is not None or cfg.ema is not None:
        raise UserError(
            f"nimg or ema is set, but {source} may be many snapshots; leave them out, or name a single file"
        )
    return found, True


def _refuse_mixture(source: str, paths: Sequence[Path]) -> None:
    names = {path: parse_file_name(path.name) for path in paths}
    if unclear := [path.name for path, name in names.items() if name is None]:
        raise UserError(
            f"{source}: {unclear[0]} is not named MODEL-KIMG-EMA.pkl, as edm2-img512-s-0134217-0.050.pkl is; rename it, or "
            "import it alone with --nimg and --ema"
        )
    models = sorted({name.model for name in names.values() if name is not None})
    if len(models) > 1:
        raise UserError(
            f"{source} has snapshots of several models: {', '.join(models)}; import one at a time: "
            f"--source '{os.path.join(source, models[0])}-[0-9]*.pkl'"
        )


def _named(path: Path, cfg: ImportConfig) -> tuple[Nimg | None, float | None]:
    """Time and EMA length: as the options say, else as the file's name does.

    Raises:
        UserError: If they contradict each other.
    """
    name = parse_file_name(path.name)
    nimg, ema = (name.nimg, name.ema) if name else (None, None)
    for what, asked, said in (("nimg", cfg.nimg, nimg), ("ema", cfg.ema, ema)):
        if None not in (asked, said) and asked != said:
            raise UserError(
                f"{path.name} says {what} {said}, but --{what} is {asked}; leave it out, or rename the file"
            )
    return (cfg.nimg if nimg is None else nimg), (cfg.ema if ema is None else ema)


def _into_run(path: Path, cfg: ImportConfig) -> Import:
    nimg, ema = _named(path, cfg)
    if nimg is None or ema is None:
        missing = " and ".join(f"--{what}" for what, value in (("nimg", nimg), ("ema", ema)) if value is None)
        raise UserError(
            f"the name of {path} does not say all that a run directory needs; import it alone, with {missing}"
        )
    folder = Path(cfg.dest) / "snapshots"
    name = snapshot_name(nimg, ema)
    there = (folder / name).exists()
    return Import(path, folder / name if there else folder.with_name(PART) / name, nimg, ema)


def _convert(imports: Sequence[Import], dtype: str) -> None:
    """Convert what is not there yet; damaged files are skipped, and named at the end."""
    damaged = []
    with progress_bar(sum(i.source.stat().st_size for i in imports), "import", unit="B") as bar:
        for item in imports:
            try:
                _import(item, dtype)
            except UserError as e:
                damaged.append(str(e))
            bar.update(item.source.stat().st_size)
    if damaged:
        raise UserError("; ".join(damaged))


def _import(item: Import, dtype: str) -> None:
    """Convert one file.

    Raises:
        UserError: If the source is damaged, or what is there was made from something else, or is another model.
    """
    import torch

    from edm2lite.snapshots.files import load_weights, save_snapshot
    from edm2lite.snapshots.nvidia import read_published

    if item.dest.exists():
        _check_made_from(item, dtype)
        return
    info, tensors = read_published(item.source)
    info = replace(info, nimg=item.nimg, sigma_rel=item.ema)
    load_weights(info, {name: tensor.to("meta") for name, tensor in tensors.items()}, item.source)  # do they fit?
    _check_same_model(item, info)
    if dtype == "fp32":
        tensors = {name: tensor.to(torch.float32) for name, tensor in tensors.items()}
    made_from = {"source": item.source.name, "source_sha256": sha256(item.source), "dtype": dtype}
    save_snapshot(item.dest, tensors, info, **made_from)


def _check_made_from(item: Import, dtype: str) -> None:
    """Raise a UserError unless the file that is there is whole and made from this source."""
    from edm2lite.snapshots.files import read_metadata

    there = read_metadata(item.dest)
    if (there.get("source_sha256"), there.get("dtype")) != (sha256(item.source), dtype):
        raise UserError(
            f"{item.dest} is there already, but not from {item.source} in dtype {dtype}; choose another --dest, or "
            "delete it"
        )


def _check_same_model(item: Import, info: "SnapshotInfo") -> None:
    """Raise a UserError if a run directory has snapshots of another model."""
    from edm2lite.snapshots.files import read_info

    if item.dest.parent.name != PART:
        return
    for folder in (item.dest.parent, item.dest.parent.with_name("snapshots")):
        other = next(iter(sorted(folder.glob("*.safetensors"))), None)
        if other is not None and replace(read_info(other), nimg=info.nimg, sigma_rel=info.sigma_rel) != info:
            raise UserError(f"{item.source} is of another model than {other}; choose another --dest")


def _check_unfinished(run_dir: Path, imports: Sequence[Import]) -> None:
    """Raise a UserError if another import into this folder was interrupted: only its own command completes it."""
    begun = {path.name for path in (run_dir / PART).glob("*.safetensors")}
    if others := begun - {item.dest.name for item in imports}:
        raise UserError(
            f"{run_dir / PART} has {len(others)} snapshots of an import that was interrupted; give that command again, or "
            "delete the folder"
        )


def _publish(run_dir: Path) -> None:
    """Show the imported snapshots as those of the run."""
    part, folder = run_dir / PART, run_dir / "snapshots"
    if not part.exists():
        return
    for leftover in part.glob(".*.tmp"):
        leftover.unlink()
    if not folder.exists():
        os.rename(part, folder)  # all at once
        return
    for path in part.iterdir():
        os.replace(path, folder / path.name)
    part.rmdir()
