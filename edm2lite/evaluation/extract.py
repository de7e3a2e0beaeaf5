"""From images to features that are kept: each image is made or read once, whatever happens."""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from edm2lite.background import Behind
from edm2lite.data.host import to_host
from edm2lite.data.prepare.workspace import room_on_disk
from edm2lite.errors import UserError
from edm2lite.evaluation.detectors.detector import Detector
from edm2lite.evaluation.detectors.load import check_shape
from edm2lite.evaluation.metrics.scoring import NO_LABELS
from edm2lite.evaluation.shards import FeatureStore, Writer
from edm2lite.evaluation.sources import Batch, Source
from edm2lite.interrupt import sigterm_unwinds
from edm2lite.memory import out_of_memory


def extract(
    source: Source,
    detectors: Sequence[Detector],
    store: FeatureStore,
    keys: Sequence[int],
    bar: tqdm | None = None,
    labelled: bool = False,
) -> None:
    """Compute and keep what features of these keys are missing; each image is made or read once for all detectors.

    Features are checked, gathered and written in a thread, while the next batches are computed. What was computed before an
    error, Ctrl-C or SIGTERM is kept.

    Args:
        source, detectors, store, keys: What of, with what, where to.
        bar: Progress over keys.
        labelled: Whether a metric needs the images' labels.

    Raises:
        UserError: If an image cannot be read, a detector does not take it, a feature is not finite, labels are missing, memory
            runs out, or the disk is full.
    """
    missing = {detector: set(store.missing(detector, keys)) for detector in detectors}
    wanted = [key for key in keys if any(key in lack for lack in missing.values())]
    if bar is not None:
        bar.update(len(keys) - len(wanted))
    if not wanted:
        return
    if source.shape is not None:
        for detector in detectors:
            check_shape(detector, source.name, source.shape)
    with sigterm_unwinds(), room_on_disk(store.folder), ExitStack() as stack:
        writers = [stack.enter_context(Writer(store, d)) for d in detectors if missing[d]]
        behind = stack.enter_context(Behind(partial(_keep, writers, bar)))
        batches = source.batches(wanted)
        if isinstance(batches, Generator):  # after an error it would otherwise live as long as the traceback
            stack.enter_context(closing(batches))
        for batch in batches:
            if labelled and batch.labels is None:
                raise UserError(f"{source.name}: {NO_LABELS}")
            if batch.halved_to is not None:
                store.note_halved(batch.halved_to)
            computed = [_computed(writer.detector, batch, source.batch_size) for writer in writers]
            labels = [] if batch.labels is None else [batch.labels]
            behind.put(_Computed(batch.keys, to_host(*computed, *labels)))


class _Computed(NamedTuple):
    """A batch on its way to the writers: its keys; what waits for its features, one tensor a writer, and labels, if known."""

    keys: list[int]
    copied: Callable[[], list[Tensor]]


def _keep(writers: Sequence[Writer], bar: tqdm | None, batch: _Computed) -> None:
    copied = batch.copied()
    labels = copied[len(writers)] if len(copied) > len(writers) else None
    for writer, features in zip(writers, copied, strict=False):
        _check_finite(writer.detector, batch.keys, features)
        writer.add(batch.keys, features, labels)
    if bar is not None:
        bar.update(len(batch.keys))


def features_of(detector: Detector, batch: Batch, batch_size: int) -> Tensor:
    """Features [B, D] of a batch, padded to the full size: a network's last bits can depend on the number of images.

    Raises:
        UserError: If memory runs out, or a feature is not finite.
    """
    features = _computed(detector, batch, batch_size)
    _check_finite(detector, batch.keys, features)
    return features


def _computed(detector: Detector, batch: Batch, batch_size: int) -> Tensor:
    pixels, count = batch.pixels, len(batch.keys)
    if count < batch_size:
        pixels = torch.cat([pixels, pixels[-1:].expand(batch_size - count, -1, -1, -1)])
    try:
        return detector(pixels)[:count]
    except RuntimeError as e:
        if not out_of_memory(e):
            raise
        raise UserError(
            f"out of memory in {detector.title} with batch_size {batch_size}; set a smaller --batch_size"
        ) from e


def _check_finite(detector: Detector, keys: Sequence[int], features: Tensor) -> None:
    if not features.isfinite().all():
        bad = keys[int((~features.isfinite().all(dim=1)).nonzero()[0])]
        half = detector.precision != "fp32"
        raise UserError(
            f"{detector.title}{f' in {detector.precision}' if half else ''} makes features that are not finite of image {bad}; "
            + ("use --detector_precision fp32" if half else "check the image and the weights")
        )
