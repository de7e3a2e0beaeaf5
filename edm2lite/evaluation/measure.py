"""The commands `ref` and `metrics`: statistics of a reference set, and metrics of images against them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from edm2lite.config import MetricsConfig, RefConfig, parse_seeds, plain
from edm2lite.data.datasets import DATASETS, load_dataset
from edm2lite.data.devices import pick_device
from edm2lite.errors import UserError
from edm2lite.evaluation.detectors.detector import Detector
from edm2lite.evaluation.detectors.load import load_detector
from edm2lite.evaluation.extract import extract
from edm2lite.evaluation.meter import Meter
from edm2lite.evaluation.metrics.moments import Moments
from edm2lite.evaluation.proof import Proof
from edm2lite.evaluation.reference import Reference, Statistics, load_reference
from edm2lite.evaluation.score import Score
from edm2lite.evaluation.shards import FeatureStore, chunks
from edm2lite.evaluation.sources import DatasetSource, FileSource, PairSource, Source
from edm2lite.evaluation.summary import line, summary
from edm2lite.files import digest, write_json
from edm2lite.progress import progress_bar
from edm2lite.ranks import is_first_rank, parse_shard
from edm2lite.sampling.describe import machine
from edm2lite.sampling.pair import configured_pair
from edm2lite.sampling.reading import open_images
from edm2lite.snapshots.once import unless_another


def compute_reference(cfg: RefConfig) -> Reference | None:
    """Statistics of all images of a dataset, written to `cfg.out`; None if it is left to other processes."""
    if cfg.source is not None:
        return _say(_copy(load_reference(cfg.source), cfg.out))
    source = _reference_source(cfg)
    names = cfg.detectors or ((source.name,) if source.name in DATASETS else ("inception", "dinov2"))
    detectors = [load_detector(name, cfg.detector_files.get(name), pick_device(cfg.device)) for name in names]
    store, shard = FeatureStore(Path(f"{cfg.out}.features"), source.identity), parse_shard(cfg.shard)
    share = source.keys[shard.index :: shard.count]
    with progress_bar(len(share), "reference", disable=not is_first_rank()) as bar:
        extract(source, detectors, store, share, bar)
    with _turn(cfg, store, lambda: _lacking(store, detectors, source.keys), share) as others:
        if others:
            print(f"{cfg.out}: shard {shard.index}/{shard.count} is done; {others}")
            return None
        found = {detector.name: _statistics(store, detector, source.keys, cfg.features) for detector in detectors}
        data = {"name": source.name, "num_images": len(source.keys), **source.identity}
        ref = Reference(path=cfg.out, data=data, statistics=found)
        ref.save()
        for detector in detectors:
            store.remove(detector, source.keys)
        with suppress(OSError):  # features of another command are there, too
            store.folder.parent.rmdir()
    return _say(ref)


@contextmanager
def _turn(
    cfg: RefConfig | MetricsConfig,
    store: FeatureStore,
    lacking: Callable[[], set[int]],
    share: Sequence[int],
) -> Iterator[str | None]:
    """Why the numbers are left to another process of this command; None: they are this one's to compute, while inside.

    The lock is only for who has seen all features: so of the last ones to end, who finds it taken may go.

    Args:
        cfg: The command.
        store: Where features are.
        lacking: Images of which features are missing.
        share: Images of this process: if its features are gone, who has computed the numbers has removed them.
    """
    another = "another process computes the numbers"

    def left() -> str | None:
        lack = lacking()
        return another if lack & set(share) else f"other shards lack {len(lack)} images" if lack else None

    if others := left():
        yield others
        return
    with unless_another(_lock(store, cfg)) as mine:
        yield left() if mine else another


def _lacking(store: FeatureStore, detectors: Iterable[Detector], keys: Sequence[int]) -> set[int]:
    return {key for detector in detectors for key in store.missing(detector, keys)}


def _lock(store: FeatureStore, cfg: RefConfig | MetricsConfig) -> Path:
    """Held by that one of a command's processes that computes the numbers: two would be in each other's way at the end."""
    return store.folder / f".lock-{digest(plain(asdict(replace(cfg, shard=None, devices=1))))}"


def _reference_source(cfg: RefConfig) -> Source:
    if cfg.images is not None:
        return _files(cfg.images, cfg.batch_size)
    return DatasetSource(load_dataset(cfg.data), cfg.batch_size)


def _copy(ref: Reference, out: str) -> Reference:
    copy = Reference(path=out, data=ref.data, statistics=ref.statistics)
    copy.save()
    return copy


def _say(ref: Reference) -> Reference:
    name = ref.data.get("name", ref.data.get("file"))
    for detector, s in ref.statistics.items():
        title = s.identity["detector"] if s.identity else f"{detector}, as its publisher computed it"
        print(f"{ref.path}: {s.num_images or 'unknown number of'} images of {name}, detector {title}")
    return ref


def _statistics(store: FeatureStore, detector: Detector, keys: Sequence[int], kept: int) -> Statistics:
    """Moments of all features, streamed, and some features themselves, spread evenly."""
    moments = Moments(detector.dim)
    for part in chunks(store, detector, keys):
        moments.update(part.x)
    picks = np.linspace(0, len(keys) - 1, min(kept, len(keys))).round().astype(int)
    some = store.read(detector, [keys[i] for i in picks]) if kept else None
    return Statistics(
        mu=moments.mu.numpy(), sigma=moments.sigma.numpy(), num_images=len(keys), identity=detector.identity,
        features=None if some is None else some.x.numpy(),
        labels=None if some is None or some.labels is None else some.labels.numpy(),
    )  # fmt: skip


def compute_metrics(cfg: MetricsConfig) -> dict[str, Any] | None:
    """Metrics of files, or of a pair's images, printed and written to `cfg.out`; None if it is left to other processes."""
    meter = Meter(cfg, cfg.detector_precision)
    source = _files(cfg.images, cfg.batch_size) if cfg.images is not None else _pair_source(cfg)
    blocks = split(source, cfg.blocks, cfg.num_images)
    keys, shard = [key for block in blocks for key in block], parse_shard(cfg.shard)
    share = keys[shard.index :: shard.count]
    with progress_bar(len(share), "metrics", disable=not is_first_rank()) as bar:
        meter.extract(source, share, bar, run=keys)
    with _turn(cfg, meter.store(source), lambda: meter.lacking(source, keys, keys), share) as others:
        if others:
            print(f"shard {shard.index}/{shard.count} is done; {others}")
            return None
        proofs = meter.prove(source, keys)
        scores = [meter.score(source, block) for block in blocks]
        result = describe(meter, source, cfg, scores) | _half(meter, proofs, scores)
        if cfg.out:
            write_json(cfg.out, result)
        meter.finish(source, keys)
    for metric in meter.metrics:
        print(line(metric.title, [score[metric.name] for score in scores]))
    return result


def _half(meter: Meter, proofs: Mapping[str, Proof], scores: Sequence[dict[str, Score]]) -> dict[str, Any]:
    """What half precision changed, as plain data, and printed; empty: nothing was computed in it.

    Raises:
        UserError: If that is too much of one of the scores.
    """
    found = []
    for name, proof in proofs.items():
        mine = [m.name for m in meter.metrics if m.kind == "fd" and meter.reference.detector_of(m) == name]
        distances = [score[metric].value for score in scores for metric in mine]
        proof.check(*distances)
        print(proof.line(*distances))
        found.append(asdict(proof) | {"change": proof.change(*distances)})
    return {"half_precision": found} if found else {}


def split(source: Source, blocks: int, num_images: int | None) -> list[list[int]]:
    """The keys of each block: of seeds, one after the other; of files in another order, such as by class, spread evenly.

    Raises:
        UserError: If there are fewer images than that needs, or they cannot be split evenly; says the way out.
    """
    there = len(source.keys)
    each = num_images or there // blocks
    if each < 2 or blocks * each > there:
        needed = f"{blocks} blocks of {max(each, 2)}" if blocks > 1 else f"{max(each, 2)}"
        raise UserError(
            f"{source.name} has {there} images, {needed} are needed; sample the rest, or give --num_images {there // blocks} "
            "(a Frechet distance of fewer images is larger: not comparable with published ones of 50000)"
        )
    if num_images is None and there % blocks:
        raise UserError(f"{there} images cannot be split evenly into {blocks} blocks; give --num_images {each}")
    if isinstance(source, FileSource) and not source.images.by_seed:
        picks = np.linspace(0, there - 1, blocks * each).round().astype(int)
        return [[source.keys[i] for i in picks[block::blocks]] for block in range(blocks)]
    return [list(source.keys[i * each : (i + 1) * each]) for i in range(blocks)]


def _files(path: str, batch_size: int) -> FileSource:
    images = open_images(path)
    if len(images.names) < 2:
        raise UserError(
            f"{path} holds {len(images.names)} images; at least 2 are needed (sample.py writes such a folder)"
        )
    return FileSource(images, batch_size)


def _pair_source(cfg: MetricsConfig) -> PairSource:
    pair = configured_pair(cfg)
    return PairSource(pair, parse_seeds(cfg.seeds), cfg.sampler, cfg.batch_size, cfg.labels)


def describe(meter: Meter, source: Source, cfg: MetricsConfig, scores: Sequence[dict[str, Score]]) -> dict[str, Any]:
    """The result with everything that it depends on, as plain data."""
    names = [metric.name for metric in meter.metrics]
    made = source.pair.describe() if isinstance(source, PairSource) else {"images": cfg.images}
    seeds = {"seeds": cfg.seeds, "sampler": plain(asdict(cfg.sampler))} if isinstance(source, PairSource) else {}
    halved = meter.store(source).halved()
    return {
        "metrics": {name: summary([score[name] for score in scores]) for name in names},
        "num_images": scores[0][names[0]].num_images,
        "blocks": len(scores),
        **seeds,
        **({"batch_size_halved_to": halved} if halved else {}),
        "made_by": made,
        "source": source.identity,
        "protocol": {metric.name: meter.protocol(metric) for metric in meter.metrics},
        "reference": {"file": meter.reference.path, **meter.reference.data},
        **machine(meter.device),
    }
