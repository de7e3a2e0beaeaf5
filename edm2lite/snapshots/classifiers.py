"""From the name of a model to a classifier of noisy images."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from edm2lite.config import ModelRef
from edm2lite.errors import UserError
from edm2lite.network.classifier import Classifier
from edm2lite.snapshots.fetch import locate
from edm2lite.snapshots.files import SnapshotInfo, fingerprint, load_network, read_info, read_tensors
from edm2lite.snapshots.posthoc import find_or_reconstruct


@dataclass(frozen=True)
class LoadedClassifier:
    """A classifier with what it is and where it came from.

    Attributes:
        classifier: Ready for use, frozen.
        info: What the snapshot is of.
        path: The file its weights were read from.
    """

    classifier: Classifier
    info: SnapshotInfo
    path: Path

    @property
    def label_dim(self) -> int:
        """Number of its classes."""
        return self.info.label_dim

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over names and bytes of all weights."""
        return fingerprint(self.classifier)


def load_classifier(ref: ModelRef, device: torch.device | str = "cpu") -> LoadedClassifier:
    """The classifier that a reference names: a run directory, a snapshot file, or its URL.

    Args:
        ref: Path, and for a run directory nimg (default: the last) and EMA length (default: the shortest).
        device: Where to put it.

    Returns:
        With `classifier(x, sigma) -> logits`; see `edm2lite.network.classifier.Classifier`.

    Raises:
        UserError: If there is no such model, or it is no classifier.
    """
    path = Path(locate(str(ref.path)))
    if not path.exists():
        raise UserError(
            f"classifier {path} does not exist; it must be a run directory, a .safetensors file, or its URL"
        )
    if path.suffix == ".pkl":
        raise UserError(f"{path} holds a denoiser, but a classifier is needed here; train one with task: classifier")
    if path.is_dir():
        path = find_or_reconstruct(path, ref.nimg, ref.ema)
    elif ref.nimg is not None or ref.ema is not None:
        raise UserError(f"{path} is one snapshot; leave nimg and ema of the classifier out, or name the run directory")
    info = read_info(path)
    return LoadedClassifier(load_network(info, read_tensors(path), path, Classifier).to(device), info, path)
