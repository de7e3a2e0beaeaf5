"""Published weights: where they are found, that they are the right ones, and that reading them runs no code."""

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from edm2lite.errors import UserError, first_line
from edm2lite.evaluation.detectors.detector import Detector
from edm2lite.files import cache_dir
from edm2lite.snapshots.download import download, file_hash

D = TypeVar("D", bound=Detector)
_PROBLEMS = (
    RuntimeError,
    OSError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    pickle.UnpicklingError,
)


@dataclass(frozen=True)
class WeightsFile:
    """A published state dict: of which detector, its file name, where it is downloaded, its bytes, its hash."""

    detector: str
    name: str
    url: str
    size: int
    sha256: str


def load_published(build: Callable[[], D], file: WeightsFile, weights: str | None = None) -> D:
    """A detector with its published weights, on the CPU.

    It is laid out without memory first, so that nothing is initialised to be thrown away.

    Args:
        build: Makes the detector.
        file: Its weights.
        weights: Where they are, see `find_weights`.

    Raises:
        UserError: If they cannot be found, are others, or do not fit the network.
    """
    path = find_weights(file, weights)
    with torch.device("meta"):
        detector = build()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        detector.load_state_dict(state, assign=True)
    except _PROBLEMS as e:
        raise UserError(f"{path} holds no weights of {detector.title} ({first_line(e)}); get {file.url} again") from e
    detector.weights_sha256 = file.sha256
    return detector


def find_weights(file: WeightsFile, weights: str | None = None) -> Path:
    """The file of published weights on this machine, its size and hash checked; downloaded once if it is nowhere.

    Hashing is not repeated for a download; a file that a person has put there is hashed once in every process.

    Args:
        file: Which weights.
        weights: The file; None: the one in $EDM2LITE_CACHE/detectors, else the download.

    Raises:
        UserError: If there is no such file, it cannot be downloaded, or it is another one.
    """
    placed = cache_dir() / "detectors" / file.name
    if weights is not None:
        path = Path(weights)
        if not path.is_file():
            raise UserError(
                f"detector_files.{file.detector} is {weights}, where there is no file; get {_described(file)}"
            )
    else:
        path = placed if placed.is_file() else _download(file, placed)
    _check(path, file)
    return path


def _download(file: WeightsFile, placed: Path) -> Path:
    try:
        return download(file.url, file.sha256)
    except UserError as e:
        raise UserError(
            f"the weights of {file.detector} are missing: {e}. Without internet, get {_described(file)} and put it at "
            f"{placed}, or name it: --detector_files '{{{file.detector}: FILE}}'"
        ) from e


def _check(path: Path, file: WeightsFile) -> None:
    """Raise a UserError unless a file is the published one."""
    if (size := path.stat().st_size) != file.size:
        raise UserError(f"{path} has {size} bytes, not {file.size}: cut short, or another file; get {_described(file)}")
    if (found := file_hash(path)) != file.sha256:
        raise UserError(f"{path} has sha256 {found}, not {file.sha256}; get {_described(file)}")


def _described(file: WeightsFile) -> str:
    return f"{file.name} (sha256 {file.sha256}) from {file.url}"
