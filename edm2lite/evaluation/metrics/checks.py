"""What all metrics ask of features."""

import torch
from torch import Tensor

from edm2lite.errors import UserError


def as_float64(x: Tensor) -> Tensor:
    """The same in float64, on its device; on the CPU for MPS, which has no float64."""
    return x.detach().to("cpu" if x.device.type == "mps" else x.device, torch.float64)


def check_features(features: Tensor, dim: int | None = None, least: int = 1) -> None:
    """Refuse features that no metric can use.

    Raises:
        UserError: If they are not [N, D], of another D than `dim`, fewer than `least`, or not finite.
    """
    shape = list(features.shape)
    if features.ndim != 2 or (dim is not None and features.shape[1] != dim):
        wanted = "D" if dim is None else dim
        raise UserError(
            f"features have shape {shape}; they must be [N, {wanted}], of the same detector as the reference"
        )
    if len(features) < least:
        raise UserError(f"there are {len(features)} images; this metric takes at least {least}: draw more")
    bad = sum(int((~part.isfinite()).any(dim=1).sum()) for part in features.split(4096))
    if bad:
        raise UserError(
            f"features of {bad} of {len(features)} images are not finite (NaN or infinite); check the images and the detector, "
            "and delete the stored features"
        )
