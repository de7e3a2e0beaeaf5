"""The folder that images go to, looked at before anything slow. Imports no torch."""

import os
from pathlib import Path

from edm2lite.errors import UserError


def check_outdir(outdir: str | os.PathLike) -> None:
    """Raise a UserError unless images can go to `outdir`: nothing, or a folder of ours or an empty one, and writable."""
    path = Path(outdir)
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise UserError(f"{there} is a file; --outdir names a folder: choose another one")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{there} cannot be written to; choose another --outdir, or have its permissions changed")
    if there == path and any(path.glob("[!.]*")) and not (path / "manifest.json").exists():
        raise UserError(f"{path} is not empty and holds no manifest.json; choose another --outdir")
