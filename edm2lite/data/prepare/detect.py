"""What kind of source lies at a path."""

import json
from pathlib import Path

from edm2lite.data.packed import FORMAT
from edm2lite.data.prepare.folders import class_folders, flat_folder, subfolders
from edm2lite.data.prepare.parquet import parquet_files, parquet_source
from edm2lite.data.prepare.sources import Source, stored_source
from edm2lite.data.prepare.tars import tar_source
from edm2lite.errors import UserError

_KAGGLE = ("ILSVRC", "Data", "CLS-LOC", "train")
_SPLITS = {"train", "val", "valid", "validation", "test"}
_KINDS = (
    "ILSVRC2012 as Kaggle ships it, its tars, a folder of class folders, a folder of images, parquet files, "
    "a packed folder or a ZIP of PNG"
)


def open_source(path: str) -> Source:
    """The images at a path, whatever kind of source it is.

    Raises:
        UserError: If nothing is there, or it is no kind that is known.
    """
    root = Path(path)
    if root.is_dir():
        return _folder(root)
    if not root.exists():
        raise UserError(f"source {path} does not exist; name one of: {_KINDS}")
    makers = {
        ".zip": stored_source,
        ".tar": lambda p: tar_source([Path(p)]),
        ".parquet": lambda p: parquet_source([Path(p)]),
    }
    if root.suffix.lower() not in makers:
        raise UserError(f"source {path} is a file of no known kind; name one of: {_KINDS}")
    return makers[root.suffix.lower()](path)


def _folder(root: Path) -> Source:
    if (root / "journal.json").exists():
        raise UserError(f"{root} is an unfinished dataset; run the command that makes it again")
    if (root / "dataset.json").exists():
        return _described(root)
    root = _kaggle(root)
    if tars := sorted(root.glob("[!.]*.tar")):
        return tar_source(tars)
    if files := parquet_files(root):
        return parquet_source(files)
    folders = subfolders(root)
    if folders and set(folders) <= _SPLITS and subfolders(root / folders[0]):
        raise UserError(f"{root} holds the splits {', '.join(folders)}; name one: --source {root / folders[0]}")
    return class_folders(root, folders) if folders else flat_folder(root)


def _described(root: Path) -> Source:
    """A folder with a dataset.json: ours, or an archive of NVIDIA's that someone has unpacked."""
    try:
        ours = json.loads((root / "dataset.json").read_text()).get("format") == FORMAT
    except (ValueError, AttributeError):
        ours = False
    if not ours:
        raise UserError(
            f"{root} has a dataset.json that is not of edm2lite: if it is an archive of NVIDIA's, unpacked, pack it again "
            f"(cd {root} && zip -0 -r ../data.zip .); if its folders are classes, move that file away"
        )
    return stored_source(str(root))


def _kaggle(root: Path) -> Path:
    """The training images below a folder on the way to them, else the folder itself."""
    for i in range(len(_KAGGLE)):
        train = root.joinpath(*_KAGGLE[i:])
        if train.is_dir() and any(
            len(name) == 9 and name[0] == "n" and name[1:].isdecimal() for name in subfolders(train)
        ):
            return train
    return root
