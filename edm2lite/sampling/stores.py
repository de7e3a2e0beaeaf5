"""Where images go: folders of PNGs, one ZIP, or one NPZ; any number of processes fill one store."""

import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edm2lite.data.host import to_host
from edm2lite.files import remove_abandoned
from edm2lite.pool import cores
from edm2lite.sampling.archives import Members, write_zip
from edm2lite.sampling.generate import Samples
from edm2lite.sampling.images import LATENTS, PIXELS, Kind, held_seeds, image_path, write_whole
from edm2lite.sampling.npz import NpzRows, write_npz
from edm2lite.snapshots.once import one_at_a_time

_THREADS = 8  # that encode images; nearly all of that work is outside of Python's lock


class Reader(Protocol):
    """Reads what is kept of a seed."""

    @property
    def seeds(self) -> Sequence[int]:
        """Of all images, in rising order."""
        ...

    def content(self, seed: int) -> bytes:
        """The bytes whose hash a manifest records: of the PNG, or, in an NPZ, of the pixels."""
        ...

    def array(self, seed: int) -> np.ndarray:
        """Image, uint8 [C, H, W]."""
        ...


class Store(Protocol):
    """Images of seeds, and latents with them where these are kept, too."""

    def held(self) -> set[int]:
        """Seeds of which everything is there, whoever wrote it."""
        ...

    def add(self, samples: Samples) -> None:
        """Keep a batch. A process that dies leaves no half of a file."""
        ...

    def complete(self) -> None:
        """To be called when all seeds are there; of several processes one works, the others wait for it."""
        ...

    def images(self) -> Reader:
        """The images of a complete store."""
        ...


def open_store(outdir: Path, form: str, latents: bool) -> Store:
    """The store that a `format` names."""
    return FolderStore(outdir, latents) if form == "png" else ArchiveStore(outdir, form, latents)


class FolderStore:
    """000000/000123.png in `outdir`, and latents/000000/000123.npy."""

    def __init__(self, outdir: Path, latents: bool):
        self._outdir, self._kinds = outdir, kinds(latents)

    def held(self) -> set[int]:
        """From a listing, because a file server may remember that a single file was absent."""
        return set.intersection(*(set(held_seeds(self._folder(kind), kind.suffix)) for kind in self._kinds))

    def add(self, samples: Samples) -> None:
        for kind in self._kinds:
            for seed, content in zip(samples.seeds, contents(samples, kind), strict=True):
                write_whole(image_path(self._folder(kind), seed, kind.suffix), content)

    def complete(self) -> None:
        for kind in self._kinds:
            for folder in self._folder(kind).glob("[0-9]*"):
                remove_abandoned(folder)

    def images(self) -> Reader:
        return self

    @property
    def seeds(self) -> list[int]:
        return held_seeds(self._outdir)

    def content(self, seed: int) -> bytes:
        """Bytes of a PNG."""
        return image_path(self._outdir, seed).read_bytes()

    def array(self, seed: int) -> np.ndarray:
        """Image, uint8 [C, H, W]."""
        return PIXELS.decode(self.content(seed), str(image_path(self._outdir, seed)))

    def _folder(self, kind: Kind) -> Path:
        return self._outdir if kind is PIXELS else self._outdir / kind.name


class ArchiveStore:
    """images.zip or images.npz in `outdir`, and latents likewise.

    Every batch is first a small archive in parts/. Whoever finds all seeds there merges them, and what the final file held
    before, in the order of the seeds: so its bytes do not depend on who made what. An interrupted merge is begun anew.
    """

    def __init__(self, outdir: Path, form: str, latents: bool):
        self._outdir, self._form, self._kinds = outdir, form, kinds(latents)
        self._parts = outdir / "parts"

    def held(self) -> set[int]:
        while True:
            try:
                return set.intersection(*(self._held(kind) for kind in self._kinds))
            except FileNotFoundError:
                continue  # another process merges: what was listed as a part is in the final file now

    def add(self, samples: Samples) -> None:
        numbers = [] if samples.labels is None else samples.labels.tolist()
        labels = dict(zip(samples.seeds, numbers, strict=False))
        name = f"{samples.seeds[0]:06d}-{zlib.crc32(repr(samples.seeds).encode()):08x}.zip"
        for kind in self._kinds:
            members = zip(samples.seeds, contents(samples, kind), strict=True)
            write_zip(self._parts / f"{kind.name}-{name}", kind, members, labels)

    def complete(self) -> None:
        with one_at_a_time(self._outdir / ".lock", f"it completes {self._outdir}"):
            for path in [path for kind in self._kinds for path in self._merge(kind)]:
                path.unlink(missing_ok=True)
            remove_abandoned(self._parts)
            remove_abandoned(self._outdir)
            with suppress(OSError):  # it holds parts of a command for other seeds, or there never were any
                self._parts.rmdir()

    def images(self) -> Reader:
        return self._reader(PIXELS)

    def _held(self, kind: Kind) -> set[int]:
        """Parts first: they only go when the final file holds what they held."""
        held = set(Members(self._list(kind), kind).seeds)
        return held | (set(self._reader(kind).seeds) if self._final(kind).exists() else set())

    def _merge(self, kind: Kind) -> list[Path]:
        """Make the final file of what it holds and all parts; returns these."""
        parts, final = self._list(kind), self._final(kind)
        if not parts:
            return []
        sources = [
            *([self._reader(kind)] if final.exists() else []),
            Members(parts, kind),
        ]  # the newest last: it counts
        holder = {seed: source for source in sources for seed in source.seeds}
        labels = {seed: label for source in sources for seed, label in source.labels.items()}
        seeds = sorted(holder)
        if self._form == "zip":
            write_zip(final, kind, ((seed, holder[seed].content(seed)) for seed in seeds), labels)
        else:
            write_npz(final, kind, (holder[seed].array(seed) for seed in seeds), seeds, labels)
        return parts

    def _reader(self, kind: Kind) -> Members | NpzRows:
        return Members([self._final(kind)], kind) if self._form == "zip" else NpzRows(self._final(kind), kind)

    def _final(self, kind: Kind) -> Path:
        return self._outdir / f"{kind.name}.{self._form}"

    def _list(self, kind: Kind) -> list[Path]:
        return sorted(self._parts.glob(f"{kind.name}-*.zip"))


def kinds(latents: bool) -> list[Kind]:
    """What is kept, in the order of writing: images come first, so that without one nothing is there, see `Manifest`."""
    return [PIXELS, LATENTS] if latents else [PIXELS]


def on_host(samples: Samples, latents: bool) -> Callable[[], Samples]:
    """Begin to copy what is kept of a batch into the CPU's memory: pixels, labels, and with `latents` images; see `to_host`."""
    wanted = {"pixels": samples.pixels, "images": samples.images if latents else None, "labels": samples.labels}
    tensors = {name: tensor for name, tensor in wanted.items() if tensor is not None}
    copied = to_host(*tensors.values())

    def wait() -> Samples:
        found: dict[str, Any] = dict(zip(tensors, copied(), strict=True))
        return samples._replace(**found)

    return wait


def contents(samples: Samples, kind: Kind) -> Iterator[bytes]:
    """The files of a batch, in the order of its seeds, encoded in several threads."""
    with ThreadPoolExecutor(min(_THREADS, cores(), len(samples.seeds))) as threads:
        yield from threads.map(kind.encode, arrays(samples, kind))


def arrays(samples: Samples, kind: Kind) -> np.ndarray:
    """What is kept of a batch, [B, C, H, W]: uint8 pixels, or float32 latents."""
    return (samples.pixels if kind is PIXELS else samples.images.float()).cpu().numpy()
