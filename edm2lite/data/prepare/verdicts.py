"""What the facts about a dataset mean for training, and what to do."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

SIGMA_DATA = 0.5  # what the published networks assume
_FEW, _IMBALANCE, _TOLERANCE = 50_000, 10, 0.1


@dataclass(frozen=True)
class Facts:
    """What `check` found.

    Attributes:
        images: In the dataset.
        read: Images read for the statistics.
        duplicates: Of these, how many are copies of another one.
        counts: Images of every class; empty: without labels.
        resolution: Of the encoded images.
        encoder: Its specification.
        mean: Of the encoded data, per channel.
        sigma: Standard deviation of the encoded data.
        classes: Names, if known.
    """

    images: int
    read: int
    duplicates: int
    counts: np.ndarray
    resolution: int
    encoder: dict[str, Any]
    mean: np.ndarray
    sigma: float
    classes: list[str] | None = None

    @property
    def latents(self) -> bool:
        return self.encoder["name"] == "vae"


def verdicts(facts: Facts) -> list[str]:
    """Paragraphs that begin with ok, warning or note."""
    parts = (_scale, _centre, _labels, _balance, _copies, _size, _noise_levels)
    lines = (f"{level:9}{text}" for part in parts for level, text in part(facts))
    return [textwrap.fill(line, 110, subsequent_indent=" " * 9) for line in lines]


def _scale(f: Facts) -> Iterator[tuple[str, str]]:
    if abs(f.sigma / SIGMA_DATA - 1) <= _TOLERANCE:
        yield "ok", f"sigma_data is {f.sigma:.3f}; networks assume {SIGMA_DATA}"
    elif f.sigma == 0:
        yield "warning", "all images are one constant; nothing can be learned from them"
    else:
        remedy = (
            "encode again with --statistics measured"
            if f.latents
            else f"set the encoder's scale in a packed folder's dataset.json to {f.encoder['scale'] * f.sigma / SIGMA_DATA:.1f}"
        )
        yield (
            "warning",
            f"sigma_data is {f.sigma:.3f}, not {SIGMA_DATA}: train with --network.sigma_data {f.sigma:.2f}, or {remedy}",
        )


def _centre(f: Facts) -> Iterator[tuple[str, str]]:
    worst = float(np.abs(f.mean).max())
    if worst > SIGMA_DATA / 2:
        remedy = (
            "encode again with --statistics measured"
            if f.latents
            else "no harm if your images are dark or bright throughout"
        )
        yield "warning", f"a channel's mean is {worst:.2f} away from 0: {remedy}"
    else:
        yield "ok", f"channels have means within {worst:.2f} of 0"


def _labels(f: Facts) -> Iterator[tuple[str, str]]:
    if not len(f.counts):
        yield "warning", "no labels: train with --data.conditional false; guides that need a class cannot be used"
        return
    empty = np.flatnonzero(f.counts == 0)
    if len(empty):
        names = ", ".join(f.classes[i] if f.classes else str(i) for i in empty[:5])
        more = " ..." if len(empty) > 5 else ""
        yield (
            "warning",
            f"{len(empty)} classes have no image ({names}{more}): the model cannot learn them, yet samples draw them",
        )
    else:
        yield "ok", f"all {len(f.counts)} classes have images"


def _balance(f: Facts) -> Iterator[tuple[str, str]]:
    held = f.counts[f.counts > 0]
    if len(held) > 1:
        ratio = held.max() / held.min()
        if ratio > _IMBALANCE:
            yield (
                "warning",
                f"the largest class has {ratio:.0f} times the images of the smallest: small classes will be learned badly, "
                "and as samples draw classes evenly, metrics compare against another mix; drop or merge small classes",
            )
        else:
            yield "ok", f"the largest class has {ratio:.1f} times the images of the smallest"


def _copies(f: Facts) -> Iterator[tuple[str, str]]:
    if f.duplicates:
        yield (
            "warning",
            f"{f.duplicates} of {f.read} images read are copies of another: remove them, models learn copies by heart",
        )
    else:
        yield "ok", f"no copies among {f.read} images read"


def _size(f: Facts) -> Iterator[tuple[str, str]]:
    if f.images >= _FEW:
        yield "ok", f"{f.images} images"
        return
    yield (
        "warning",
        f"{f.images} images are few; published settings are those of ImageNet's 1.28 million. Lower training.ref_batches "
        "(the rate then decays sooner) and training.ref_lr, train shorter, raise network.dropout (0.1 and more), and look "
        "whether samples are copies of training images",
    )


def _noise_levels(f: Facts) -> Iterator[tuple[str, str]]:
    """P_mean and P_std as published for two resolutions (Karras et al. 2024a, Table 6)."""
    published = (
        "-0.4 and 1.0 (512-pixel ImageNet as latents)" if f.latents else "-0.8 and 1.6 (ImageNet of 64 pixels, RGB)"
    )
    yield (
        "note",
        f"training.P_mean and P_std were published as {published}, for data at sigma_data 0.5. A higher P_mean trains high "
        "noise more, that is layout; a lower one detail. A larger P_std spreads over both. Larger images want a higher P_mean",
    )
