"""From images to features that are kept: each image is made or read once, whatever happens."""

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from tqdm import tqdm

from edm2lite.data.prepare.workspace import room_on_disk
from edm2lite.errors import UserError
from edm2lite.evaluation.detectors.detector import Detector
from edm2lite.evaluation.detectors.load import check_shape
from edm2lite.evaluation.metrics.scoring import NO_LABELS
from edm2lite.evaluation.shards import FeatureStore, Writer
from edm2lite.evaluation.sources import Batch, Source
from edm2lite.interrupt import sigterm_unwinds
from edm2lite.sampling.generate import out_of_memory


def extract(
    source: Source,
    detectors: Sequence[Detector],
    store: FeatureStore,
    keys: Sequence[int],
    bar: tqdm | None = None,
    labelled: bool = False,
) -> None:
    """Compute and keep what features of these keys are missing; each image is made or read once for all detectors.

    What was computed before an error, Ctrl-C or SIGTERM is kept.

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
        for batch in source.batches(wanted):
            if labelled and batch.labels is None:
                raise UserError(f"{source.name}: {NO_LABELS}")
            if batch.halved_to is not None:
                store.note_halved(batch.halved_to)
            for writer in writers:
                writer.add(batch.keys, features_of(writer.detector, batch, source.batch_size), batch.labels)
            if bar is not None:
                bar.update(len(batch.keys))


def features_of(detector: Detector, batch: Batch, batch_size: int) -> torch.Tensor:
    """Features [B, D] of a batch, padded to the full size: a network's last bits can depend on the number of images."""
    count = len(batch.keys)
    pixels = torch.cat([batch.pixels, batch.pixels[-1:].expand(batch_size - count, -1, -1, -1)])
    try:
        features = detector(pixels)[:count]
    except RuntimeError as e:
        if not out_of_memory(e):
            raise
        raise UserError(
            f"out of memory in {detector.title} with batch_size {batch_size}; set a smaller --batch_size"
        ) from e
    if not features.isfinite().all():
        bad = batch.keys[int((~features.isfinite().all(dim=1)).nonzero()[0])]
        raise UserError(
            f"{detector.title} makes features that are not finite of image {bad}; check the image and the weights"
        )
    return features
