"""Snapshot files: one safetensors file holds the averaged weights of a network and everything needed to use them.

Reading one never runs code: the weights are plain tensors, the metadata is text.
"""

import hashlib
import json
import os
import zlib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from edm2lite.config import NetworkConfig, Nimg
from edm2lite.data.encoders import make_encoder
from edm2lite.errors import UserError, first_line, unknown_name
from edm2lite.files import atomic_path
from edm2lite.network.classifier import Classifier, Network
from edm2lite.network.denoiser import Denoiser
from edm2lite.network.energy import Energy

FORMAT = "edm2lite-snapshot"
FORMAT_VERSION = 1
KINDS: dict[str, type[Network] | type[Energy]] = {"denoiser": Denoiser, "classifier": Classifier, "energy": Energy}
_USES = {
    "denoiser": "a classifier is trained with task: classifier, as by configs/digits/classifier.yaml",
    "classifier": "it goes with a denoiser: --guidance.classifier.path",
    "energy": "it is of the 2D example: edm2lite toy2d",
}
_N = TypeVar("_N", Denoiser, Classifier, Energy)


@dataclass(frozen=True, kw_only=True)
class SnapshotInfo:
    """What a snapshot is of.

    Attributes:
        img_resolution, img_channels, label_dim: Shape of the (latent) images and number of classes.
        network: Architecture.
        encoder: Specification of the encoder, see `edm2lite.data.encoders.make_encoder`.
        nimg: Training images seen; None: unknown.
        sigma_rel: EMA length; None: unknown.
        dataset: Name of the training data.
        licence: Licence of the weights where they came from elsewhere.
        kind: Of network: one of `KINDS`.
    """

    img_resolution: int
    img_channels: int
    label_dim: int
    network: NetworkConfig = field(default_factory=NetworkConfig)
    encoder: dict[str, Any] = field(default_factory=lambda: {"name": "rgb", "scale": 127.5})
    nimg: Nimg | None = None
    sigma_rel: float | None = None
    dataset: str = ""
    licence: str = ""
    kind: str = "denoiser"

    def build(self) -> Network | Energy:
        """A network of this architecture with weights yet to be loaded."""
        return KINDS[self.kind](self.img_resolution, self.img_channels, self.label_dim, self.network)

    def at(self, nimg: int, sigma_rel: float) -> "SnapshotInfo":
        """The same at another time and EMA length."""
        return replace(self, nimg=Nimg(nimg), sigma_rel=sigma_rel)

    def to_metadata(self) -> dict[str, str]:
        """As safetensors metadata, one JSON value a key."""
        values = asdict(self) | {"sigma_data": self.network.sigma_data, "nimg": self.nimg and int(self.nimg)}
        return {"format": FORMAT, "format_version": str(FORMAT_VERSION)} | {k: json.dumps(v) for k, v in values.items()}

    @staticmethod
    def from_metadata(metadata: dict[str, str], path: str | os.PathLike) -> "SnapshotInfo":
        """Inverse of `to_metadata`; `path` is named in errors."""
        if metadata.get("format") != FORMAT:
            raise UserError(f"{path} is a safetensors file but no snapshot of edm2lite (no format {FORMAT!r} inside)")
        if metadata.get("format_version") != str(FORMAT_VERSION):
            raise UserError(f"{path} has snapshot format {metadata.get('format_version')}; update edm2lite to read it")
        try:
            values = {f.name: json.loads(metadata[f.name]) for f in fields(SnapshotInfo) if f.name in metadata}
            values["network"] = network_config(values["network"])
            values["nimg"] = None if values["nimg"] is None else Nimg(values["nimg"])
            make_encoder(values["encoder"])
            if values.get("kind", "denoiser") not in KINDS:
                raise unknown_name(f"kind of network of {path}", values["kind"], KINDS)
            return SnapshotInfo(**values)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            raise UserError(f"{path}: its metadata describe no model ({type(e).__name__}: {first_line(e)})") from e


def network_config(values: dict[str, Any]) -> NetworkConfig:
    """Architecture from plain data, where lists stand for tuples."""
    arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return NetworkConfig(**arguments)


def save_snapshot(path: str | os.PathLike, tensors: dict[str, Tensor], info: SnapshotInfo, **extra: str) -> None:
    """Write a snapshot atomically.

    Args:
        path: File to write.
        tensors: State dict of the network (averaged parameters and the fixed buffers).
        info: What it is of.
        extra: Further metadata.
    """
    contiguous = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    checksums = {"crc32": json.dumps({name: tensor_crc32(tensor) for name, tensor in contiguous.items()})}
    with atomic_path(path) as temporary:
        save_file(contiguous, temporary, metadata=info.to_metadata() | checksums | extra)


def tensor_crc32(tensor: Tensor) -> int:
    """CRC-32 of type, shape and numbers of a tensor on the CPU."""
    data = tensor.contiguous().view(-1).view(torch.uint8).numpy()
    return zlib.crc32(data, zlib.crc32(f"{tensor.dtype} {list(tensor.shape)}".encode()))  # type: ignore[arg-type]


def read_metadata(path: str | os.PathLike) -> dict[str, str]:
    """Metadata of a safetensors file, read from its header alone."""
    try:
        with safe_open(path, framework="np") as f:
            return f.metadata() or {}
    except (SafetensorError, OSError) as e:
        raise _unreadable(path, e) from e


def read_info(path: str | os.PathLike) -> SnapshotInfo:
    """What a snapshot is of, read from its header alone."""
    return SnapshotInfo.from_metadata(read_metadata(path), path)


def read_tensors(path: str | os.PathLike) -> dict[str, Tensor]:
    """Its tensors by name, on the CPU.

    Raises:
        UserError: If the file is damaged: it cannot be read, or a tensor differs from its checksum, where it has one.
    """
    try:
        with safe_open(path, framework="pt") as f:
            tensors = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118 - no mapping
            checksums = json.loads((f.metadata() or {}).get("crc32", "{}"))
    except (SafetensorError, OSError, ValueError) as e:
        raise _unreadable(path, e) from e
    for name, tensor in tensors.items():
        if name in checksums and tensor_crc32(tensor) != checksums[name]:
            raise _unreadable(path, ValueError(f"{name} differs from its checksum"))
    return tensors


def load_weights(info: SnapshotInfo, tensors: dict[str, Tensor], path: str | os.PathLike) -> Denoiser:
    """The frozen denoiser with float32 weights; see `load_network`."""
    return load_network(info, tensors, path, Denoiser)


def load_network(info: SnapshotInfo, tensors: dict[str, Tensor], path: str | os.PathLike, kind: type[_N]) -> _N:
    """The frozen network with float32 weights.

    It is laid out without memory first, so that a file cannot ask for more than the tensors it holds.

    Raises:
        UserError: If it is of another kind, or names or shapes do not fit the architecture that the file's metadata names.
    """
    if KINDS[info.kind] is not kind:
        needed = _with_article(kind.__name__.lower())
        raise UserError(f"{path} holds {_with_article(info.kind)}, but {needed} is needed here; {_USES[info.kind]}")
    try:
        with torch.device("meta"):
            net = kind(info.img_resolution, info.img_channels, info.label_dim, info.network)
        net.load_state_dict({k: v.to(torch.float32) for k, v in tensors.items()}, assign=True)
    except (RuntimeError, TypeError, ValueError, ArithmeticError, LookupError) as e:
        raise UserError(f"{path}: the weights do not fit the architecture named in it: {first_line(e)}") from e
    return net.eval().requires_grad_(False)


def fingerprint(net: nn.Module) -> str:
    """sha256 over names and bytes of all weights: the identity of a model wherever its file lies."""
    digest = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _unreadable(path: str | os.PathLike, error: Exception) -> UserError:
    if not Path(path).is_file():
        return UserError(f"{path}: there is no such snapshot file; check the path")
    return UserError(f"{path} is damaged or no safetensors file ({first_line(error)}); copy or train it again")
