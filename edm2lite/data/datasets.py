"""The datasets by name or path, and what every dataset offers."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edm2lite.config import DataConfig
from edm2lite.data.digits import load_digits
from edm2lite.data.images import ImageArrays
from edm2lite.data.packed import PackedDataset, read_description
from edm2lite.data.patches import load_patches
from edm2lite.data.stored import StoredDataset
from edm2lite.data.zipindex import check_zip
from edm2lite.data.zipped import ZipDataset
from edm2lite.errors import UserError, unknown_name

_FINGERPRINT_IMAGES = 16


class Dataset(Protocol):
    """Raw images with classes; `encoder` (its specification) maps them to what the network sees.

    `dataset[i]` is (raw, class): uint8 pixels [C, H, W], or float moments of latents [8, H, W], and an int; `labels` are all
    classes, int64 [N]. `img_channels` and `img_resolution` are those of the encoded image: a latent has 4 channels.
    """

    @property
    def name(self) -> str: ...

    @property
    def img_resolution(self) -> int: ...

    @property
    def img_channels(self) -> int: ...

    @property
    def label_dim(self) -> int: ...

    @property
    def labels(self) -> np.ndarray: ...

    @property
    def encoder(self) -> dict[str, Any]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]: ...


DATASETS: dict[str, Callable[[], ImageArrays]] = {"digits": load_digits, "patches": load_patches}


def check_dataset(cfg: DataConfig) -> None:
    """What can be checked quickly and without torch.

    Raises:
        UserError: If the name is unknown, or the path holds no complete dataset.
    """
    if cfg.path is not None:
        check_stored(cfg.path)
    elif cfg.name is None:
        raise UserError(
            f"no dataset was named; set data.name to one of {', '.join(DATASETS)}, or data.path to one made by "
            "edm2lite data convert"
        )
    elif cfg.name not in DATASETS:
        raise unknown_name("data.name", cfg.name, DATASETS)


def check_stored(path: str) -> None:
    """Raise a UserError unless a path holds a packed folder or a ZIP that look complete."""
    if Path(path).is_dir():
        read_description(path)
    elif not Path(path).is_file():
        raise UserError(f"dataset {path} does not exist; make one with edm2lite data convert")
    else:
        check_zip(path)


def open_stored(path: str) -> StoredDataset:
    """The packed folder or ZIP at a path.

    Raises:
        UserError: If there is none, or it is damaged.
    """
    check_stored(path)
    return PackedDataset(path) if Path(path).is_dir() else ZipDataset(path)


def load_dataset(cfg: DataConfig) -> Dataset:
    """The dataset at `cfg.path`, else the bundled one that `cfg.name` names; without `cfg.conditional` its label_dim is 0.

    Raises:
        UserError: If there is no such dataset, it is damaged, or has no labels although `cfg.conditional`.
    """
    check_dataset(cfg)
    if cfg.path is None:
        assert cfg.name is not None
        bundled = DATASETS[cfg.name]()
        return bundled if cfg.conditional else bundled.without_labels()
    dataset = open_stored(cfg.path)
    dataset.name = cfg.name or dataset.name
    if cfg.conditional and not dataset.label_dim:
        raise UserError(f"{cfg.path} has no labels, but data.conditional is true; set --data.conditional false")
    return dataset if cfg.conditional else dataset.without_labels()


def fingerprint(dataset: Dataset) -> str:
    """Identity of the data, in whatever layout they lie: SHA-256 over number, shape, all labels and 16 images spread evenly."""
    picks = np.linspace(0, len(dataset) - 1, min(_FINGERPRINT_IMAGES, len(dataset))).round().astype(int)
    images = np.stack([dataset[int(i)][0] for i in picks])
    digest = hashlib.sha256(json.dumps([len(dataset), *images.shape[1:], str(images.dtype)]).encode())
    digest.update(np.ascontiguousarray(dataset.labels, "<i8").data)
    digest.update(images.data)
    return digest.hexdigest()
