"""The state of a run in one safetensors file, the same for every strategy: whole tensors by name, nothing that runs.

net/<name>               weights and buffers
adam/exp_avg/<name>      moments of Adam, likewise adam/exp_avg_sq
ema/0.05/<name>          averages
metadata                 format, nimg, fingerprint of the data, licence, CRC-32 of every tensor and of the metadata

Lightning's own checkpoints are not used: their layout differs between strategies, they are pickles, and their loop counters
make a resume depend on how the batch was split.
"""

import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from edm2lite.config import Nimg
from edm2lite.errors import UserError
from edm2lite.files import atomic_path
from edm2lite.network.shards import copy_shard_, gather, local_shard
from edm2lite.snapshots.files import tensor_crc32
from edm2lite.training.power_ema import PowerEMA

FORMAT_NAME = "edm2lite-checkpoint"
FORMAT = f"{FORMAT_NAME}-1"
MOMENTS = ("exp_avg", "exp_avg_sq")


class DamagedError(UserError):
    """A checkpoint is not what was written."""


@dataclass(frozen=True, kw_only=True)
class CheckpointInfo:
    """What a checkpoint is of.

    Attributes:
        nimg: Training images seen.
        data: Fingerprint of the dataset.
        nonfinite_gradients: Gradient elements zeroed so far.
        licence: Licence of weights the training began with.
    """

    nimg: int
    data: str = ""
    nonfinite_gradients: int = 0
    licence: str = ""


def parts(net: nn.Module, ema: PowerEMA, optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Every tensor of the state: its name, what this rank holds of it, and a tensor laid out like it."""
    parameters = dict(net.named_parameters())
    for name, tensor in net.state_dict().items():
        yield f"net/{name}", local_shard(tensor), tensor
    for name, p in parameters.items():
        state = optimizer.state[p]
        for moment in MOMENTS if state else ():
            yield f"adam/{moment}/{name}", local_shard(state[moment]), p
    for sigma_rel in ema.averages:
        for name, average in ema.named_average(sigma_rel).items():
            yield f"ema/{sigma_rel}/{name}", average, parameters[name]


def collect(state: Iterator[tuple[str, Tensor, Tensor]], keep: bool) -> dict[str, Tensor]:
    """Whole tensors on the CPU, where `keep` is set; all ranks take part, one tensor at a time."""
    whole = {}
    for name, shard, like in state:
        tensor = gather(shard.detach(), like)
        if keep:
            whole[name] = tensor.cpu().contiguous()
    return whole


def write_checkpoint(path: Path, tensors: dict[str, Tensor], info: CheckpointInfo) -> None:
    """Write a checkpoint atomically."""
    checksums = {name: tensor_crc32(tensor) for name, tensor in tensors.items()}
    metadata = {"format": FORMAT, "crc32": json.dumps(checksums)} | {k: json.dumps(v) for k, v in asdict(info).items()}
    metadata["metadata_crc32"] = _metadata_crc32(metadata)
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def verify_checkpoint(path: Path) -> CheckpointInfo:
    """Read a whole checkpoint and compare every tensor, and what it says of itself, with the checksums.

    Raises:
        DamagedError: If the file is damaged or cut short.
        UserError: If it cannot be read now, is of another version, or has another file's name.
    """
    try:
        if path.stat().st_size == 0:
            raise DamagedError(f"checkpoint {path} is damaged (it is empty)")
        with safe_open(path, framework="pt") as f:
            info = _read_info(path, f.metadata() or {})
            checksums = json.loads(f.metadata()["crc32"])
            wrong = [name for name in checksums if tensor_crc32(f.get_tensor(name)) != checksums[name]]
    except OSError as e:
        raise UserError(
            f"checkpoint {path} cannot be read ({e.strerror or e}); mend that, then run the same command"
        ) from e
    except (SafetensorError, KeyError, json.JSONDecodeError, UnicodeDecodeError) as e:
        raise DamagedError(f"checkpoint {path} is damaged ({' '.join(str(e).split())[:120]})") from e
    if wrong:
        raise DamagedError(f"checkpoint {path} is damaged ({wrong[0]} differs from its checksum)")
    return info


def _read_info(path: Path, metadata: dict[str, str]) -> CheckpointInfo:
    if metadata.get("format", "").startswith(FORMAT_NAME) and metadata["format"] != FORMAT:
        raise UserError(
            f"checkpoint {path} has format {metadata['format']}, not {FORMAT}; use the version that wrote it"
        )
    if metadata.get("metadata_crc32") != _metadata_crc32(metadata):
        raise DamagedError(f"checkpoint {path} is damaged (its metadata differ from their checksum)")
    info = CheckpointInfo(**{field.name: json.loads(metadata[field.name]) for field in fields(CheckpointInfo)})
    if Nimg(path.stem) != info.nimg:
        raise UserError(f"checkpoint {path} is of nimg {Nimg(info.nimg)}; give it its own name back, or remove it")
    return info


@torch.no_grad()
def load_checkpoint(path: Path, net: nn.Module, ema: PowerEMA, optimizer: torch.optim.Optimizer, steps: int) -> None:
    """Copy a checkpoint into place, each rank what it holds.

    Args:
        path: Checkpoint, verified.
        net, ema, optimizer: Where to; they may be sharded over any number of ranks, or not at all.
        steps: Optimizer steps taken so far.
    """
    step = torch.tensor(float(steps))  # fused Adam counts beside the parameters
    for p in net.parameters():
        moments = {moment: torch.zeros_like(p) for moment in MOMENTS}
        optimizer.state[p] = {"step": step.to(p.device, copy=True), **moments}
    with safe_open(path, framework="pt") as f:
        for name, shard, like in parts(net, ema, optimizer):
            copy_shard_(shard, f.get_tensor(name), like)


def _metadata_crc32(metadata: dict[str, str]) -> str:
    rest = {key: value for key, value in metadata.items() if key != "metadata_crc32"}
    return str(zlib.crc32(json.dumps(rest, sort_keys=True).encode()))
