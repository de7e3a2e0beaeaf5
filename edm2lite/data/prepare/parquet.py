"""Parquet files as the Hugging Face hub holds image datasets: columns `image` and `label`."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edm2lite.data.prepare.sources import Content, Item, Source
from edm2lite.errors import UserError


def parquet_files(root: Path) -> list[Path]:
    """The parquet files of a folder or its folder `data`, sorted; those of the split "train" alone if some are called so."""
    files = sorted(root.glob("[!.]*.parquet")) or sorted(root.glob("data/[!.]*.parquet"))
    return [path for path in files if path.name.startswith("train")] or files


def parquet_source(files: list[Path]) -> Source:
    """Images in parquet files, streamed: a few rows are in memory at a time.

    Raises:
        UserError: If the library is not installed, a file is damaged, or a column is missing.
    """
    rows = [_rows(path) for path in files]
    label = _read(files[:1]).features.get("label")
    names = getattr(label, "names", None) or (_classes(files) if label is not None else None)

    def items(start: int) -> Iterator[Item]:
        first = 0
        while first < len(files) and start >= rows[first]:  # whole files are passed over unread
            start, first = start - rows[first], first + 1
        if first < len(files):
            yield from _items(files[first:], start, label is not None)

    described = [(path.name, path.stat().st_size, n) for path, n in zip(files, rows, strict=True)]
    digest = hashlib.sha256(repr(described).encode()).hexdigest()
    return Source(f"{len(files)} parquet files", sum(rows), len(names or ()), names, digest, items)


def _items(files: list[Path], start: int, labelled: bool) -> Iterator[Item]:
    for i, row in enumerate(_read(files).skip(start), start):
        label = row["label"] if labelled else 0
        if label is None or label < 0:
            raise UserError(f"row {i} of {files[0]} has no label; convert the split that has: --source the train files")
        image = row["image"]
        data = image["bytes"] if image["bytes"] is not None else Path(image["path"]).read_bytes()
        yield Item(image["path"] or f"row {i}", label, Content(data))


def _classes(files: list[Path]) -> list[str]:
    """Numbers as names, where the files do not name the classes."""
    from pyarrow.parquet import ParquetFile

    most = -1
    for path in files:
        with ParquetFile(path) as f:
            most = max(most, *(max(batch["label"].to_pylist()) for batch in f.iter_batches(columns=["label"])))
    return [str(i) for i in range(most + 1)]


def _read(files: list[Path]) -> Any:
    """The rows of some files, in streaming mode, with images as they lie there."""
    try:
        from datasets import Image, load_dataset
    except ImportError as e:
        raise UserError("parquet needs the library datasets: pip install 'edm2lite[parquet]'") from e
    try:
        data = load_dataset("parquet", data_files=[str(f) for f in files], split="train", streaming=True)
    except Exception as e:  # datasets and pyarrow raise many kinds
        raise UserError(f"{files[0]} is no parquet file that can be read ({str(e).splitlines()[0]})") from e
    if "image" not in data.features:
        raise UserError(
            f"{files[0]} has the columns {', '.join(data.features)}; it needs image, and label if there are classes"
        )
    return data.cast_column("image", Image(decode=False))


def _rows(path: Path) -> int:
    """Number of rows, from the file's footer."""
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError as e:
        raise UserError("parquet needs the library datasets: pip install 'edm2lite[parquet]'") from e
    try:
        with ParquetFile(path) as f:
            return f.metadata.num_rows
    except (pyarrow.ArrowException, OSError) as e:
        raise UserError(f"{path} is no whole parquet file ({str(e).splitlines()[0]}); download it again") from e
