"""The datasets by name, and what every dataset offers."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from edm2lite.config import DataConfig
from edm2lite.data.digits import load_digits
from edm2lite.data.images import ImageArrays
from edm2lite.data.patches import load_patches
from edm2lite.errors import unknown_name


class Dataset(Protocol):
    """Raw images with classes; `encoder` (its specification) maps them to what the network sees.

    `dataset[i]` is (raw, class): uint8 pixels [C, H, W], or float moments of latents, and an int.
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
    def encoder(self) -> dict[str, Any]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]: ...


DATASETS: dict[str, Callable[[], ImageArrays]] = {"digits": load_digits, "patches": load_patches}


def check_dataset(cfg: DataConfig) -> None:
    """Raise a UserError that lists the known datasets unless `cfg.name` is one."""
    if cfg.name not in DATASETS:
        raise unknown_name("data.name", cfg.name, DATASETS)


def load_dataset(cfg: DataConfig) -> Dataset:
    """The dataset that `cfg.name` names; without `cfg.conditional` its label_dim is 0.

    Raises:
        UserError: If the name is unknown.
    """
    check_dataset(cfg)
    dataset = DATASETS[cfg.name]()
    return dataset if cfg.conditional else dataset.without_labels()
