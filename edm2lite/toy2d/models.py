"""Denoisers of the 2D example: trained ones by name, and exact ones. A point is an image of two channels and one pixel."""

from typing import Any

import torch
from torch import Tensor

from edm2lite.config import ModelRef
from edm2lite.errors import UserError, unknown_name
from edm2lite.guidance.wrapper import Denoise
from edm2lite.network.energy import Energy
from edm2lite.snapshots.files import load_network
from edm2lite.snapshots.find import find
from edm2lite.toy2d.truth import CLASSES, ground_truth

_EXACT = "exact"
LABELS = ("A", "B")  # by their number in `labels`


def is_exact(path: str | None) -> bool:
    """Whether a path names an exact model: exact:A, exact:B, exact:AB, or "exact", the classifier."""
    return path is not None and path.split(":")[0] == _EXACT


def load(ref: ModelRef, dtype: torch.dtype = torch.float32) -> Denoise:
    """The denoiser of a reference: a run directory or snapshot of `edm2lite toy2d train`, or "exact:CLASSES".

    It has `logp(x, sigma)`, too: points [N, 2] -> [N], for a trained one up to a constant of sigma.

    Raises:
        UserError: If there is no such model, it is no model of the 2D example, or it is to be degraded by what it has not;
            if snapshots of an exact model are named.
    """
    for name in ("dropout", "unconditional"):
        if name in ref.degradations:
            raise UserError(
                f"{name} of {ref.path} is set, but networks of the 2D example have none; use input_noise or sigma_scale"
            )
    if is_exact(ref.path):
        for name in ("nimg", "ema", "sha256"):
            if getattr(ref, name) is not None:
                raise UserError(f"{name} of {ref.path} is set, but an exact model has no snapshots; leave it out")
        return ExactDenoiser(str(ref.path).partition(":")[2])
    found = find(str(ref.path), ref.nimg, ref.ema, what="model of the 2D example")
    return load_network(found.info, found.tensors(), found.path, Energy).to(dtype)


class ExactDenoiser:
    """D(x; sigma) = x + sigma^2 grad_x log p(x; sigma) (Karras et al. 2022, Eq. 3), computed in the dtype of x."""

    img_resolution, img_channels, label_dim = 1, 2, 0

    def __init__(self, classes: str):
        if classes not in CLASSES:
            raise unknown_name("exact model", f"{_EXACT}:{classes}", [f"{_EXACT}:{name}" for name in CLASSES])
        self.classes = classes

    def __call__(self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None) -> Tensor:
        points, sigma = x.flatten(1), torch.as_tensor(sigma, dtype=x.dtype)
        score = ground_truth(self.classes, x.dtype).score(points, sigma)
        return (points + sigma.reshape(-1, 1) ** 2 * score).reshape(x.shape)

    def logp(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """log p(x; sigma): points [N, 2] -> [N]."""
        return ground_truth(self.classes).logp(x, sigma)


def exact_classifier(x: Tensor, sigma: Tensor | float) -> Tensor:
    """ln p(c, x; sigma) of classes A and B: [N, 2, 1, 1] -> logits [N, 2], differentiable by x."""
    return _Logits.apply(x.flatten(1), torch.as_tensor(sigma, dtype=x.dtype))


class _Logits(torch.autograd.Function):
    """The exact score instead of the derivative of every component's density: a third of the time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sigma: Tensor) -> Tensor:
        ctx.save_for_backward(x, sigma)
        return torch.stack([ground_truth(c, x.dtype).logp(x, sigma) + _log_share(c) for c in LABELS], dim=1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        x, sigma = ctx.saved_tensors
        scores = (ground_truth(c, x.dtype).score(x, sigma) for c in LABELS)
        return sum((g[:, None] * s for g, s in zip(gradients[0].unbind(1), scores, strict=True))), None  # type: ignore[return-value]


def _log_share(label: str) -> float:
    """ln of a class's part of both classes together."""
    both = ground_truth("AB")
    own = torch.tensor([branch.label == label for branch in both.branches])
    return float(both.weights.reshape(len(own), -1)[own].sum().log())
