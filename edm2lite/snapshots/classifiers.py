"""From the name of a model to a classifier of noisy images."""

import torch

from edm2lite.config import ModelRef
from edm2lite.network.classifier import Classifier
from edm2lite.snapshots.files import load_network
from edm2lite.snapshots.find import find
from edm2lite.snapshots.load import Loaded


class LoadedClassifier(Loaded[Classifier]):
    """A classifier with what it is and where it came from."""

    @property
    def classifier(self) -> Classifier:
        """The network."""
        return self.net

    @property
    def label_dim(self) -> int:
        """Number of its classes."""
        return self.info.label_dim


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
    found = find(str(ref.path), ref.nimg, ref.ema, what="classifier")
    net = load_network(found.info, found.tensors(), found.path, Classifier)
    return LoadedClassifier(net.to(device), found.info, found.path)
