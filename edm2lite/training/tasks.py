"""What can be trained, and what a training step computes of it."""

import torch.nn.functional as F
from torch import Tensor

from edm2lite.config import TrainingConfig
from edm2lite.data.positions import Batch
from edm2lite.network.classifier import Classifier, Network
from edm2lite.training.loss import noise_levels, weighted_loss


def step_values(net: Network, batch: Batch, cfg: TrainingConfig) -> dict[str, Tensor]:
    """Values by name, each with a first dimension of the batch: the "loss", to be summed over an image, and what is logged.

    For a denoiser the loss of every element (2024a, Eq. 21); for a classifier -ln p(c | x; sigma), and its accuracy.
    """
    sigma = noise_levels(batch.normals, cfg.P_mean, cfg.P_std)
    dropout = (net.network.dropout, batch.keys) if net.network.dropout > 0 else None
    if isinstance(net, Classifier):
        logits = net(batch.images + sigma.reshape(-1, 1, 1, 1) * batch.noise, sigma, dropout)
        return classification(logits, batch.labels)
    return {"loss": weighted_loss(net, batch.images, batch.labels, sigma, batch.noise, dropout)}


def classification(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Cross-entropy and whether the most probable class is the right one: [B, classes] and int64 [B] -> float32 [B] each."""
    correct = (logits.argmax(dim=1) == labels).float()
    return {"loss": F.cross_entropy(logits, labels, reduction="none"), "accuracy": correct}
