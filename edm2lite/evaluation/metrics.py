"""Reference statistics, and the distance of images to them."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from edm2lite.config import MetricsConfig, RefConfig, SamplerConfig, parse_seeds, plain
from edm2lite.data.datasets import load_dataset
from edm2lite.data.encoders import RGBEncoder
from edm2lite.errors import UserError
from edm2lite.evaluation.features import Classifier, load_detector
from edm2lite.evaluation.frechet import frechet_distance
from edm2lite.evaluation.statistics import FeatureStats, ReferenceStats
from edm2lite.files import write_json
from edm2lite.progress import progress_bar
from edm2lite.sampling.pair import Pair, load_pair
from edm2lite.sampling.reading import Images, open_images

CHUNK = 500  # images that pass the detector together


def compute_reference(cfg: RefConfig) -> ReferenceStats:
    """Statistics of all images of a dataset, written to `cfg.out`."""
    dataset = load_dataset(cfg.data)
    detector = load_detector(dataset.name)
    stats = FeatureStats(detector.dim)
    for start in range(0, len(dataset), CHUNK):
        images = np.stack([dataset[i][0] for i in range(start, min(start + CHUNK, len(dataset)))])
        stats.update(detector(torch.from_numpy(images)))
    ref = ReferenceStats(
        mu=stats.mu.numpy(), sigma=stats.sigma.numpy(), num_images=stats.count,
        detector=detector.name, detector_sha256=detector.weights_sha256, dataset=dataset.name,
    )  # fmt: skip
    ref.save(cfg.out)
    print(f"{cfg.out}: {ref.num_images} images of {ref.dataset}, detector {ref.detector}")
    return ref


def load_reference(path: str) -> tuple[ReferenceStats, Classifier]:
    """Reference statistics with the detector that made them.

    Raises:
        UserError: If the detector's weights here are not those that made the statistics.
    """
    ref = ReferenceStats.load(path)
    detector = load_detector(ref.dataset)
    if (detector.name, detector.weights_sha256) != (ref.detector, ref.detector_sha256):
        raise UserError(
            f"{path} was made with detector {ref.detector} ({ref.detector_sha256[:12]}), but here it is {detector.name} "
            f"({detector.weights_sha256[:12]}); make the statistics anew: evaluate.py ref --out {path}"
        )
    return ref, detector


def score_pair(
    pair: Pair, seeds: list[int], ref: ReferenceStats, detector: Classifier, sampler: SamplerConfig, batch_size: int,
    bar: tqdm | None = None,
) -> float:  # fmt: skip
    """Frechet distance of the images of `seeds`, sampled and measured without being written."""
    info, stats = pair.main.info, FeatureStats(detector.dim)
    pair.check()
    if isinstance(pair.encoder, RGBEncoder):
        check_shape(
            "the main model", (info.img_channels, info.img_resolution, info.img_resolution), detector.image_shape
        )
    for batch in pair.sample(seeds, sampler, batch_size):
        stats.update(detector(batch.pixels.cpu()))
        if bar is not None:
            bar.update(len(batch.seeds))
    return frechet_distance(stats.mu, stats.sigma, ref.mu, ref.sigma)


def compute_metrics(cfg: MetricsConfig) -> dict[str, Any]:
    """Distance of a folder of images, or of a pair's images, to the reference; printed and written to `cfg.out`."""
    ref, detector = load_reference(cfg.ref)
    if cfg.images is not None:
        result = _score_images(cfg.images, ref, detector)
    else:
        seeds = parse_seeds(cfg.seeds)
        pair = load_pair(cfg.main, cfg.guide, cfg.guidance, device=cfg.device, vae=cfg.vae, models=cfg.models)
        with progress_bar(len(seeds), "metrics") as bar:
            distance = score_pair(pair, seeds, ref, detector, cfg.sampler, cfg.batch_size, bar)
        result = {"frechet_distance": distance, "num_images": len(seeds), "seeds": cfg.seeds}
        result |= {"sampler": plain(asdict(cfg.sampler))} | pair.describe()
    result |= {"detector": ref.detector, "detector_sha256": ref.detector_sha256, "reference_images": ref.num_images}
    print(f"Frechet distance {result['frechet_distance']:.4f} ({result['num_images']} images, {ref.detector})")
    if cfg.out:
        write_json(cfg.out, result)
    return result


def _score_images(path: str, ref: ReferenceStats, detector: Classifier) -> dict[str, Any]:
    """Distance of all images of a folder, ZIP or NPZ; see `open_images`."""
    images = open_images(path)
    if len(images.names) < 2:
        raise UserError(
            f"{path} holds {len(images.names)} images; at least 2 are needed (sample.py writes such a folder)"
        )
    stats = FeatureStats(detector.dim)
    for chunk in _chunks(images, detector.image_shape):
        stats.update(detector(torch.from_numpy(chunk)))
    distance = frechet_distance(stats.mu, stats.sigma, ref.mu, ref.sigma)
    return {"frechet_distance": distance, "num_images": len(images.names), "images": path}


def _chunks(images: Images, shape: tuple[int, int, int]) -> Iterator[np.ndarray]:
    """The images, uint8 [<=CHUNK, C, H, W]."""
    count = len(images.names)
    with progress_bar(count, "read") as bar:
        for start in range(0, count, CHUNK):
            chunk = []
            for i in range(start, min(start + CHUNK, count)):
                chunk.append(images.read(i))
                check_shape(images.names[i], chunk[-1].shape, shape)
            bar.update(len(chunk))
            yield np.stack(chunk)


def check_shape(what: str, got: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Raise a UserError unless images have the shape [C, H, W] of the reference's."""
    if tuple(got) != tuple(expected):
        raise UserError(
            f"{what} has shape {list(got)} (channels, height, width); the reference's images have {list(expected)}"
        )
