"""Fine-tuning: a training that begins with the weights of another model."""

import sys
from dataclasses import asdict
from typing import Any

import torch

from edm2lite.config import ModelRef
from edm2lite.errors import UserError
from edm2lite.network.classifier import Classifier, Network
from edm2lite.network.shards import copy_shard_, local_shard
from edm2lite.snapshots.classifiers import load_classifier
from edm2lite.snapshots.files import SnapshotInfo
from edm2lite.snapshots.load import load_model

LABEL_LAYERS = ("unet.emb_label.weight", "out_linear.weight")  # of denoiser and classifier


@torch.no_grad()
def initialize(net: Network, path: str, encoder: dict[str, Any]) -> str:
    """Copy the weights and Fourier features of the model at `path` into a new network, sharded or not.

    A label layer of another size stays as initialised, and is named on standard error; so is another scaling of the data.

    Args:
        net: Where to.
        path: Run directory (its last snapshot, shortest EMA), snapshot, or NVIDIA's .pkl.
        encoder: Specification of the encoder of the new data.

    Returns:
        Licence of the weights; empty: none is known.

    Raises:
        UserError: If the architectures differ in more than dropout, one model is of pixels and the other of latents, or one
            is a denoiser and the other a classifier.
    """
    source, info = _load(path, net)
    _check_same(path, info, net, encoder)
    theirs, ours = source.state_dict(), net.state_dict()
    fits = {name for name in ours if name in theirs and theirs[name].shape == ours[name].shape}
    wrong = sorted((ours.keys() | theirs.keys()) - fits - set(LABEL_LAYERS))
    if wrong:
        shapes = [list(tensors[wrong[0]].shape) if wrong[0] in tensors else "absent" for tensors in (theirs, ours)]
        raise _unlike(path, wrong[0], *shapes)
    for name in fits:
        copy_shard_(local_shard(ours[name]), theirs[name], ours[name])
    if source.label_dim != net.label_dim:
        what = f"made anew for {net.label_dim} classes" if net.label_dim else "left out"
        print(f"init_from {path}: its label layer ({source.label_dim} classes) is {what}", file=sys.stderr)
    return info.licence


def _load(path: str, like: Network) -> tuple[Network, SnapshotInfo]:
    """The model at `path`, which must be of the same kind as `like`."""
    if isinstance(like, Classifier):
        classifier = load_classifier(ModelRef(path=path))
        return classifier.classifier, classifier.info
    model = load_model(path)
    return model.denoiser, model.info


def _check_same(path: str, source: SnapshotInfo, net: Network, encoder: dict[str, Any]) -> None:
    """Weights mean something else in another architecture, even where all shapes agree."""
    theirs, ours = asdict(source.network), asdict(net.network)
    for name in theirs:
        if name != "dropout" and theirs[name] != ours[name]:
            raise _unlike(path, f"network.{name}", theirs[name], ours[name])
    theirs, ours = source.encoder, encoder
    if theirs["name"] != ours["name"]:
        raise _unlike(path, "the encoder", theirs["name"], ours["name"])
    if theirs != ours:
        print(f"init_from {path}: its data were scaled by {theirs}, these are by {ours}", file=sys.stderr)


def _unlike(path: str, what: str, there: object, here: object) -> UserError:
    return UserError(
        f"init_from {path} does not fit this network: {what} is {there} there and {here} here; make network and data like "
        "those of that model"
    )
