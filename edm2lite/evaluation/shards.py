"""Features kept on disk by the key of their image, in files that many processes add to, so that none is computed twice."""

import json
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from edm2lite.errors import UserError
from edm2lite.evaluation.detectors.detector import Detector
from edm2lite.files import atomic_path, digest, remove_abandoned, write_json

_ROWS, _SECONDS = 1000, 20  # a shard is written when it has so many rows, or after so long


class Features(NamedTuple):
    """Of some images, in the order of their keys: float32 [N, D], and their classes, int64 [N], where known."""

    x: Tensor
    labels: Tensor | None


class FeatureStore:
    """Features of one source of images, by detector: FOLDER/SOURCE/DETECTOR/*.safetensors.

    Any number of processes may add at once. A shard is there whole or not at all, and carries a checksum.

    Args:
        root: Folder of all sources.
        identity: Everything that decides the pixels of the images; plain data.
    """

    def __init__(self, root: Path, identity: dict[str, Any]):
        self.folder, self.identity = root / digest(identity), identity
        self._keys: dict[Path, list[int]] = {}

    def held(self, detector: Detector) -> dict[int, Path]:
        """Where the features of each key are.

        Raises:
            UserError: If a shard is damaged.
        """
        found: dict[int, Path] = {}
        for path in sorted(self._place(detector).glob("*.safetensors")):
            with suppress(FileNotFoundError):  # another process has removed it since
                if path not in self._keys:
                    self._keys[path] = _read(path, "keys").tolist()
                found |= dict.fromkeys(self._keys[path], path)
        return found

    def missing(self, detector: Detector, keys: Sequence[int]) -> list[int]:
        """Those of the keys that have no features yet."""
        held = self.held(detector)
        return [key for key in keys if key not in held]

    def add(self, detector: Detector, keys: Sequence[int], features: Tensor, labels: Tensor | None) -> None:
        """Keep features [n, D] of some keys."""
        tensors = {"keys": torch.tensor(keys), "features": features.float().cpu().contiguous()}
        if labels is not None:
            tensors["labels"] = labels.cpu()
        place = self._place(detector)
        if not (self.folder / "source.json").exists():
            write_json(self.folder / "source.json", self.identity)
        path = place / f"{keys[0]:08d}-{zlib.crc32(repr(list(keys)).encode()):08x}.safetensors"
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata={"crc32": json.dumps({k: _crc32(v) for k, v in tensors.items()})})

    def read(self, detector: Detector, keys: Sequence[int]) -> Features:
        """The features of these keys, in their order.

        Raises:
            UserError: If a shard is damaged, or features have been removed since they were seen.
        """
        held = self.held(detector)
        try:
            return self._gather(detector, keys, held)
        except (KeyError, FileNotFoundError) as e:
            raise UserError(
                f"features in {self.folder} were removed by another command (--keep_features false) while this one read them; "
                "run the same command again"
            ) from e

    def _gather(self, detector: Detector, keys: Sequence[int], held: dict[int, Path]) -> Features:
        rows = {key: i for i, key in enumerate(keys)}
        x, labels = torch.empty(len(keys), detector.dim), torch.full([len(keys)], -1)
        for path in dict.fromkeys(held[key] for key in keys):
            here = [i for i, key in enumerate(self._keys[path]) if rows.get(key) is not None and held[key] == path]
            there = torch.tensor([rows[self._keys[path][i]] for i in here])
            x[there] = _read(path, "features")[here]
            if (known := _read(path, "labels", optional=True)) is not None:
                labels[there] = known[here]
        return Features(x, labels if len(keys) and int(labels.min()) >= 0 else None)

    def remove(self, detector: Detector, keys: Sequence[int]) -> None:
        """Forget the features of these keys; shards that hold others, too, stay, for another process may need them."""
        self.held(detector)
        place, unwanted = self._place(detector), set(keys)
        for path in [path for path, held in self._keys.items() if path.parent == place and unwanted.issuperset(held)]:
            path.unlink(missing_ok=True)
            del self._keys[path]
        remove_abandoned(place)
        with suppress(OSError):  # others are still there
            place.rmdir()
            if not any(path.is_dir() for path in self.folder.iterdir()):
                for path in self.folder.iterdir():  # source.json and notes
                    path.unlink(missing_ok=True)
                self.folder.rmdir()

    def note(self, name: str, data: dict[str, Any]) -> None:
        """Keep plain data beside the features, as long as there are any."""
        write_json(self.folder / f"{name}.json", data)

    def noted(self, name: str) -> dict[str, Any] | None:
        """What `note` was told under a name, by any process; None: nothing, or it is damaged."""
        try:
            return dict(json.loads((self.folder / f"{name}.json").read_text()))
        except (FileNotFoundError, ValueError):
            return None

    def note_halved(self, batch_size: int) -> None:
        """Remember that memory ran out, and some images were then computed so many at a time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f".batch_size-{batch_size}").touch()

    def halved(self) -> list[int]:
        """The batch sizes that `note_halved` was told of, by any process."""
        return sorted(int(path.name.split("-")[1]) for path in self.folder.glob(".batch_size-*"))

    def _place(self, detector: Detector) -> Path:
        return self.folder / f"{detector.title.replace(':', '.')}-{digest(detector.identity)[:12]}"


class Writer:
    """Gathers batches of features and writes them as shards of a good size.

    A context manager: what was gathered is written even if an error or Ctrl-C ends it.

    Args:
        store: Where they go.
        detector: Whose they are.
    """

    def __init__(self, store: FeatureStore, detector: Detector):
        self.store, self.detector = store, detector
        self._begin()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *exception: object) -> None:
        self.flush()

    def add(self, keys: Sequence[int], features: Tensor, labels: Tensor | None) -> None:
        """Take a batch."""
        self._keys += keys
        self._features.append(features.cpu())
        self._labels += [] if labels is None else labels.tolist()
        if len(self._keys) >= _ROWS or time.monotonic() - self._since > _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered."""
        if self._keys:
            labels = torch.tensor(self._labels) if self._labels else None
            self.store.add(self.detector, self._keys, torch.cat(self._features), labels)
        self._begin()

    def _begin(self) -> None:
        self._keys: list[int] = []
        self._features: list[Tensor] = []
        self._labels: list[int] = []
        self._since = time.monotonic()


def chunks(store: FeatureStore, detector: Detector, keys: Sequence[int], size: int = 10_000) -> Iterator[Features]:
    """The features of keys, so many at a time."""
    for start in range(0, len(keys), size):
        yield store.read(detector, keys[start : start + size])


def _crc32(tensor: Tensor) -> int:
    return zlib.crc32(tensor.contiguous().view(torch.uint8).numpy().data)


def _read(path: Path, name: str, optional: bool = False) -> Any:
    """A tensor of a shard, compared with its checksum; None if it is optional and absent; FileNotFoundError if all is."""
    try:
        with safe_open(path, framework="pt") as f:
            if optional and name not in f.keys():  # noqa: SIM118 - no mapping
                return None
            tensor, expected = f.get_tensor(name), json.loads(f.metadata()["crc32"])[name]
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as e:
        raise _damaged(path, str(e)) from e
    if _crc32(tensor) != expected:
        raise _damaged(path, f"checksum of {name} differs")
    return tensor


def _damaged(path: Path, why: str) -> UserError:
    return UserError(f"features {path} are damaged ({why}); delete that file and run the same command, it is made anew")
