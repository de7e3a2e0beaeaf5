"""From the name of a model to a file or run directory on this machine. Imports no torch."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from edm2lite.config import ModelRef, Nimg
from edm2lite.errors import UserError
from edm2lite.snapshots.download import AbsentError, download, file_hash, is_url, noted
from edm2lite.snapshots.published import RECONSTRUCTIONS, file_name, model_name, needs_both

Ref = TypeVar("Ref", bound=ModelRef)


def resolve(ref: Ref, models: str | None = None) -> Ref:
    """The same reference with the path of a file or run directory on this machine; what is remote is downloaded.

    Args:
        ref: Any reference; a path that is local stays as it is, and no path is no path.
        models: Folder of NVIDIA's files, or of run directories of imported ones, where "nvidia:NAME" is looked for first.

    Raises:
        UserError: If the download fails, the hash is another than `ref.sha256`, or NVIDIA has no such model.
    """
    if ref.path is None:
        return ref
    path = locate(ref.path, ref.nimg, ref.ema, models, ref.sha256)
    if ref.sha256 is not None:
        _check_hash(path, ref.sha256)
    return replace(ref, path=path)


def locate(
    path: str, nimg: Nimg | None = None, ema: float | None = None, models: str | None = None,
    expected: str | None = None,
) -> str:  # fmt: skip
    """Local path of a model; `expected` is the hash that a download must have. See `resolve`."""
    if is_url(path):
        return str(download(path, expected))
    name = model_name(path)
    return path if name is None else _locate_published(path, name, nimg, ema, models, expected)


def _locate_published(
    path: str, model: str, nimg: Nimg | None, ema: float | None, models: str | None, expected: str | None
) -> str:
    """A published model: its file, its run directory of imported snapshots, or a download."""
    if models is not None and not os.path.isdir(models):
        raise UserError(
            f"models is {models}, which is no folder; name the one of NVIDIA's files, or leave it out to download"
        )
    name = None if nimg is None or ema is None else file_name(model, nimg, ema)
    for local in _local_names(model, name):
        if models is not None and os.path.exists(os.path.join(models, local)):
            return os.path.join(models, local)
    if nimg is None or ema is None:
        raise needs_both(path)
    if name is None:
        raise _to_import(f"{path} at nimg {nimg} and ema {ema} is not among the published files", model, models)
    try:
        return str(download(f"{RECONSTRUCTIONS}/{name}", expected))
    except AbsentError as e:
        raise _to_import(str(e), model, models) from e


def _local_names(model: str, name: str | None) -> list[str]:
    """What may lie in the folder of models, best first."""
    files = [] if name is None else [name, f"{Path(name).stem}.safetensors"]
    return [*files, model]


def _to_import(why: str, model: str, models: str | None) -> UserError:
    folder = models or "MODELS"
    return UserError(
        f"{why}; import the raw snapshots with: edm2lite snapshot import --source FOLDER --dest {folder}/{model}, "
        f"then give --models {folder}"
    )


def provenance(path: str | os.PathLike) -> dict[str, str]:
    """Where a model file comes from: `file`, `sha256` of its bytes and, for a download, `url`."""
    known = noted(Path(path))
    url = {"url": str(known["url"])} if known else {}
    return {"file": os.fspath(path), **url, "sha256": file_hash(Path(path))}


def _check_hash(path: str, expected: str) -> None:
    if os.path.isdir(path):
        raise UserError(f"sha256 is given for {path}, which is a folder; only a file has one: leave it out")
    if os.path.isfile(path) and (found := file_hash(Path(path))) != expected:
        raise UserError(f"{path} has sha256 {found}, not {expected}; get the right file, or correct sha256")
