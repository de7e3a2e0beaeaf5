"""Fine-tuning: a training that begins with the weights of another model."""

import sys

import torch
from lightning.pytorch.utilities import rank_zero_only

from edm2lite.errors import UserError
from edm2lite.network.denoiser import Denoiser
from edm2lite.snapshots.load import load_model

LABEL_LAYER = "unet.emb_label.weight"


@torch.no_grad()
def initialize(denoiser: Denoiser, path: str) -> str:
    """Copy the weights and Fourier features of the model at `path` into a new denoiser.

    A label layer of another size stays as initialised, and is named on standard error.

    Args:
        denoiser: Where to.
        path: Run directory (its last snapshot, shortest EMA), snapshot, or NVIDIA's .pkl.

    Returns:
        Licence of the weights; empty: none is known.

    Raises:
        UserError: If another tensor is missing or has another shape.
    """
    source = load_model(path)
    theirs, ours = source.denoiser.state_dict(), denoiser.state_dict()
    fits = {name for name in ours if name in theirs and theirs[name].shape == ours[name].shape}
    wrong = sorted((ours.keys() | theirs.keys()) - fits - {LABEL_LAYER})
    if wrong:
        shapes = [list(tensors[wrong[0]].shape) if wrong[0] in tensors else "absent" for tensors in (theirs, ours)]
        raise UserError(
            f"init_from {path} does not fit this network: {wrong[0]} is {shapes[0]} there and {shapes[1]} here; "
            "make network and data like those of that model"
        )
    for name in fits:
        ours[name].copy_(theirs[name])
    if LABEL_LAYER in ours and LABEL_LAYER not in fits:
        classes = f"{source.denoiser.label_dim or 'no'} classes there, {denoiser.label_dim} here"
        rank_zero_only(print)(f"init_from {path}: the label layer is made anew ({classes})", file=sys.stderr)
    return source.info.licence
