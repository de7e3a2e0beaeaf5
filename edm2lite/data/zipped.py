"""NVIDIA's layout: a ZIP of PNG (pixels) or NPY (moments of latents) with dataset.json = {"labels": [[name, class], ...]}.

Images come in the order of their names; other members are not looked at.
"""

import hashlib
import io
import os
import zlib
from pathlib import Path

import numpy as np

from edm2lite.data.readat import Files
from edm2lite.data.stored import StoredDataset
from edm2lite.data.zipindex import open_index
from edm2lite.errors import UserError

_SLACK = 512  # bytes a local header may take beyond its fixed part; most have 26 of name


class ZipDataset(StoredDataset):
    """An archive in NVIDIA's layout; one system call reads an image, its checksum is compared.

    Raises:
        UserError: If the archive is damaged, its dataset.json does not fit, or an image is not like the first one.
    """

    def __init__(self, path: str | os.PathLike):
        self._index, self._files, self._npy_header = open_index(path), Files([path]), b""
        self.path, self.shape = Path(path), (0,)  # for errors about the first image
        first, labels = self.raw(0), self._index.members["label"]
        label_dim = int(labels.max()) + 1 if self._index.labelled else 0
        shape = (len(labels), *first.shape)
        super().__init__(path, shape, first.dtype, labels if label_dim else None, label_dim)

    def member(self, index: int) -> str:
        """Name of an image in the archive."""
        return os.fsdecode(self._index.names[index])

    def checksum(self) -> str:
        """Of the names, contents and labels of all images, from the archive's directory."""
        digest = hashlib.sha256(self._index.names.tobytes())
        for field in ("crc", "size", "label"):
            digest.update(self._index.members[field].tobytes())
        return digest.hexdigest()

    def raw(self, index: int) -> np.ndarray:
        name = self._index.names[index]
        content = self._content(index)
        image = self._png(index, content) if name.lower().endswith(b".png") else self._npy(index, content)
        if self.shape[1:] and (image.shape != self.shape[1:] or image.dtype != self.dtype):
            raise self._bad(
                index, f"is {image.dtype} {list(image.shape)}, the first image {self.dtype} {list(self.shape[1:])}"
            )
        return image

    def _content(self, index: int) -> bytes:
        member = self._index.members[index]
        at, stored = int(member["offset"]), int(member["stored"])
        data = self._files.read(0, at, 30 + _SLACK + stored)
        if data[:4] != b"PK\3\4":
            raise self._bad(index, "is not where the archive's directory says")
        start = 30 + int.from_bytes(data[26:28], "little") + int.from_bytes(data[28:30], "little")
        data = data[start : start + stored] if start <= 30 + _SLACK else self._files.read(0, at + start, stored)
        try:
            data = data if member["method"] == 0 else zlib.decompress(data, -15)
        except zlib.error as e:
            raise self._bad(index, f"cannot be inflated ({e})") from e
        if zlib.crc32(data) != member["crc"]:
            raise self._bad(index, "has a wrong checksum")
        return data

    def _png(self, index: int, content: bytes) -> np.ndarray:
        from PIL import Image

        try:
            with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
                mode, pixels = picture.mode, np.array(picture)
        except Exception as e:  # Pillow raises whatever its decoders do
            raise self._bad(index, f"is no PNG that can be read ({e})") from e
        if mode not in ("L", "RGB"):
            raise self._bad(index, f"is a PNG of mode {mode}, not RGB or grey: mend it by edm2lite data convert")
        return pixels[None] if mode == "L" else np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def _npy(self, index: int, content: bytes) -> np.ndarray:
        header = self._npy_header
        if header and content.startswith(header):  # as the first one: saves the parsing
            image = np.empty(self.shape[1:], self.dtype)
            if len(content) == len(header) + image.nbytes:
                image[:] = np.frombuffer(content, self.dtype, offset=len(header)).reshape(image.shape)
                return image
        file = io.BytesIO(content)
        try:
            image = np.lib.format.read_array(file, allow_pickle=False)
        except (ValueError, EOFError) as e:
            raise self._bad(index, f"is no NPY that can be read ({e})") from e
        if index == 0 and image.flags.c_contiguous:
            self._npy_header = content[: len(content) - image.nbytes]
        return np.ascontiguousarray(image)

    def _bad(self, index: int, what: str) -> UserError:
        return UserError(f"{self.path}: image {self.member(index)} {what}; copy the archive again, or make it anew")
