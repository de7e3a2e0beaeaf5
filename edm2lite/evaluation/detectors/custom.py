"""Any torch module as a detector, by its import path."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from edm2lite.errors import UserError
from edm2lite.evaluation.detectors.detector import Detector
from edm2lite.evaluation.detectors.precision import in_float32
from edm2lite.plugins import find_named
from edm2lite.snapshots.files import fingerprint


class Custom(Detector):
    """A module of somebody else's.

    Args:
        name: MODULE:FACTORY.
        module: Maps images uint8 [B, C, H, W] to features [B, dim] or [B, dim, 1, 1]; see `load_custom`.
    """

    def __init__(self, name: str, module: nn.Module):
        super().__init__()
        self.name = self.title = name
        self.module = module.float()
        self.dim = _dim(name, module)
        self.preprocessing = str(getattr(module, "preprocessing", "its own"))
        shape = getattr(module, "image_shape", None)
        self.image_shape = None if shape is None else _shape(name, shape)
        self.weights_sha256 = fingerprint(module)
        self.register_buffer("place", torch.zeros(0), persistent=False)  # of a module without weights

    @in_float32
    def forward(self, images: Tensor) -> Tensor:
        """Features float32 [B, dim]; grey images are repeated to RGB, unless it takes one shape only."""
        grey = self.image_shape is None and images.shape[1] == 1
        features = self.module(images.expand(-1, 3, -1, -1) if grey else images)
        expected = (len(images), self.dim)
        got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        if got not in (expected, (*expected, 1, 1)):
            raise UserError(f"detector {self.name} gives {got} for {len(images)} images; it must give {expected}")
        return features.reshape(expected).to(torch.float32)

    @in_float32
    def logits(self, features: Tensor) -> Tensor | None:
        function = getattr(self.module, "logits", None)
        return None if function is None else function(features)


def load_custom(name: str) -> Custom:
    """The detector that "MODULE:FACTORY" names: FACTORY() is a torch module from images to features.

    The module has the attribute `dim`, the number of features, and may have `preprocessing`, the identity of what it does to
    the images, `image_shape`, the only (C, H, W) it takes, and `logits(features)`, the logits of a classifier. The hash of
    its state dict identifies its weights, whatever file they came from. Kept features are known by both: who changes the code
    of a module, and not its weights, gives it another `preprocessing`.

    Raises:
        UserError: If there is no such factory, it needs arguments, or gives something else.
    """
    factory = find_named("detector", name, "my_package.networks:make_clip")
    try:
        inspect.signature(factory).bind()
    except TypeError as e:
        raise UserError(f"detector {name} cannot be called without arguments ({e}); give them defaults") from e
    module = factory()
    if not isinstance(module, nn.Module):
        raise UserError(f"detector {name} gives a {type(module).__name__}; it must give a torch.nn.Module")
    return Custom(name, module)


def _dim(name: str, module: nn.Module) -> int:
    dim = getattr(module, "dim", None)
    if not isinstance(dim, int) or dim < 1:
        raise UserError(f"detector {name} has dim {dim!r}; its attribute dim must be the number of features it gives")
    return dim


def _shape(name: str, shape: Any) -> tuple[int, int, int]:
    try:
        channels, height, width = map(int, shape)
    except (TypeError, ValueError) as e:
        raise UserError(f"detector {name} has image_shape {shape!r}; it must be (channels, height, width)") from e
    return channels, height, width
