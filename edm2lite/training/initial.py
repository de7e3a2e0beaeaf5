"""Fine-tuning: a training that begins with the weights of another model."""

import sys
from dataclasses import asdict
from typing import Any

import torch

from edm2lite.errors import UserError
from edm2lite.network.denoiser import Denoiser
from edm2lite.network.shards import copy_shard_, local_shard
from edm2lite.snapshots.load import LoadedModel, load_model

LABEL_LAYER = "unet.emb_label.weight"


@torch.no_grad()
def initialize(denoiser: Denoiser, path: str, encoder: dict[str, Any]) -> str:
    """Copy the weights and Fourier features of the model at `path` into a new denoiser, sharded or not.

    A label layer of another size stays as initialised, and is named on standard error; so is another scaling of the data.

    Args:
        denoiser: Where to.
        path: Run directory (its last snapshot, shortest EMA), snapshot, or NVIDIA's .pkl.
        encoder: Specification of the encoder of the new data.

    Returns:
        Licence of the weights; empty: none is known.

    Raises:
        UserError: If the architectures differ in more than dropout, or one model is of pixels and the other of latents.
    """
    source = load_model(path)
    _check_same(path, source, denoiser, encoder)
    theirs, ours = source.denoiser.state_dict(), denoiser.state_dict()
    fits = {name for name in ours if name in theirs and theirs[name].shape == ours[name].shape}
    wrong = sorted((ours.keys() | theirs.keys()) - fits - {LABEL_LAYER})
    if wrong:
        shapes = [list(tensors[wrong[0]].shape) if wrong[0] in tensors else "absent" for tensors in (theirs, ours)]
        raise _unlike(path, wrong[0], *shapes)
    for name in fits:
        copy_shard_(local_shard(ours[name]), theirs[name], ours[name])
    if LABEL_LAYER not in fits and source.denoiser.label_dim != denoiser.label_dim:
        what = f"made anew for {denoiser.label_dim} classes" if denoiser.label_dim else "left out"
        print(f"init_from {path}: its label layer ({source.denoiser.label_dim} classes) is {what}", file=sys.stderr)
    return source.info.licence


def _check_same(path: str, source: LoadedModel, denoiser: Denoiser, encoder: dict[str, Any]) -> None:
    """Weights mean something else in another architecture, even where all shapes agree."""
    theirs, ours = asdict(source.info.network), asdict(denoiser.network)
    for name in theirs:
        if name != "dropout" and theirs[name] != ours[name]:
            raise _unlike(path, f"network.{name}", theirs[name], ours[name])
    theirs, ours = source.info.encoder, encoder
    if theirs["name"] != ours["name"]:
        raise _unlike(path, "the encoder", theirs["name"], ours["name"])
    if theirs != ours:
        print(f"init_from {path}: its data were scaled by {theirs}, these are by {ours}", file=sys.stderr)


def _unlike(path: str, what: str, there: object, here: object) -> UserError:
    return UserError(
        f"init_from {path} does not fit this network: {what} is {there} there and {here} here; make network and data like "
        "those of that model"
    )
