"""`edm2lite data check`: what is in a dataset, and whether it is fit for training."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from edm2lite.config import CheckConfig, DataConfig
from edm2lite.data.datasets import Dataset, load_dataset, open_stored
from edm2lite.data.encoders import Encoder, VAEEncoder, make_encoder
from edm2lite.data.prepare.verdicts import Facts, verdicts
from edm2lite.data.sheets import sheet, to_picture
from edm2lite.errors import UserError
from edm2lite.files import atomic_path
from edm2lite.progress import progress_bar

_BATCH = 64


def check(cfg: CheckConfig) -> None:
    """Print what is in a dataset and what to do about it; write a contact sheet to `cfg.out`.

    Raises:
        UserError: If the dataset cannot be used at all.
    """
    dataset = _load(cfg)
    if not cfg.out.lower().endswith(".png"):
        raise UserError(f"out is {cfg.out}; it must end in .png")
    picks = np.unique(np.linspace(0, len(dataset) - 1, min(cfg.images, len(dataset))).round().astype(int))
    moments = _measure(dataset, picks)
    facts = _facts(dataset, moments)
    print("\n".join([*_table(dataset, facts, moments), "", *verdicts(facts)]))
    _write_sheet(cfg, dataset, picks)


def _load(cfg: CheckConfig) -> Dataset:
    if cfg.path is None:
        return load_dataset(DataConfig(name=cfg.name))
    dataset = open_stored(cfg.path)
    labels = dataset.labels
    if not 0 <= labels.min() <= labels.max() < max(dataset.label_dim, 1):
        raise UserError(
            f"{cfg.path} has labels {labels.min()} ... {labels.max()} but {dataset.label_dim} classes; make the dataset anew"
        )
    return dataset


@dataclass
class _Moments:
    """Running sums of encoded images, per channel, in float64."""

    total: np.ndarray
    squares: np.ndarray
    numbers: int
    images: int
    duplicates: int

    @property
    def mean(self) -> np.ndarray:
        return self.total / self.numbers

    @property
    def std(self) -> np.ndarray:
        return np.sqrt(np.maximum(self.squares / self.numbers - self.mean**2, 0))

    @property
    def sigma(self) -> float:
        """Standard deviation of all numbers, whatever their channel."""
        return float(np.sqrt(max(self.squares.mean() / self.numbers - self.mean.mean() ** 2, 0.0)))


def _measure(dataset: Dataset, picks: np.ndarray) -> _Moments:
    """Moments of some encoded images, a batch in memory at a time; the draw of a latent is seeded."""
    encoder, generator = make_encoder(dataset.encoder), torch.Generator().manual_seed(0)
    zeros, seen = np.zeros(dataset.img_channels), set[bytes]()
    m = _Moments(zeros, zeros, 0, len(picks), 0)
    with progress_bar(len(picks), "check") as bar:
        for start in range(0, len(picks), _BATCH):
            raw = np.stack([dataset[int(i)][0] for i in picks[start : start + _BATCH]])
            seen.update(hashlib.sha256(image.data).digest()[:12] for image in raw)
            shape = (len(raw), dataset.img_channels, dataset.img_resolution, dataset.img_resolution)
            noise = torch.randn(shape, generator=generator) if encoder.stochastic else None
            encoded = encoder.encode(torch.from_numpy(raw), noise=noise).double().numpy()
            if not np.isfinite(encoded).all():
                raise UserError(
                    f"{dataset.name}: one of the images {picks[start]} ... is not finite; make the dataset anew"
                )
            m.total, m.squares = m.total + encoded.sum((0, 2, 3)), m.squares + (encoded**2).sum((0, 2, 3))
            m.numbers += encoded.size // encoded.shape[1]
            bar.update(len(raw))
    m.duplicates = len(picks) - len(seen)
    return m


def _facts(dataset: Dataset, m: _Moments) -> Facts:
    counts = np.bincount(dataset.labels, minlength=dataset.label_dim) if dataset.label_dim else np.zeros(0, np.int64)
    return Facts(
        images=len(dataset), read=m.images, duplicates=m.duplicates, counts=counts, resolution=dataset.img_resolution,
        encoder=dataset.encoder, mean=m.mean, sigma=m.sigma, classes=getattr(dataset, "classes", None),
    )  # fmt: skip


def _table(dataset: Dataset, facts: Facts, m: _Moments) -> list[str]:
    """What is there, one line a fact."""
    raw, counts = dataset[0][0], facts.counts
    spec = ", ".join(f"{key} {value}" for key, value in dataset.encoder.items() if key != "name")
    rows: list[tuple[str, Any]] = [
        ("dataset", getattr(dataset, "path", dataset.name)),
        ("images", f"{len(dataset)}, stored as {raw.dtype} {list(raw.shape)}"),
        ("encoder", dataset.encoder["name"] + (f" ({spec})" if spec else "")),
        ("network sees", [dataset.img_channels, dataset.img_resolution, dataset.img_resolution]),
        (
            "classes",
            f"{len(counts)}, labels {dataset.labels.min()} ... {dataset.labels.max()}" if len(counts) else "none",
        ),
    ]
    if len(counts):
        rows.append(("a class has", f"{counts.min()} to {counts.max()} images, median {np.median(counts):g}"))
        rows.append(("empty classes", (counts == 0).sum()))
    rows.append(("duplicates", f"{m.duplicates} among the {m.images} images read"))
    rows += [
        (f"channel {i}", f"mean {mean:+.3f}, std {std:.3f}")
        for i, (mean, std) in enumerate(zip(m.mean, m.std, strict=True))
    ]
    rows.append(("sigma_data", f"{m.sigma:.3f} measured on {m.images} images"))
    return [f"{name:15}{value}" for name, value in rows]


def _write_sheet(cfg: CheckConfig, dataset: Dataset, picks: np.ndarray) -> None:
    """Contact sheet of images spread evenly: 64 small ones or 16 large ones."""
    large = dataset.img_resolution * (1 if cfg.vae is None else 8) > 128
    side = 8 if len(picks) >= 64 and not large else 4
    chosen = picks[np.linspace(0, len(picks) - 1, min(side * side, len(picks))).round().astype(int)]
    raw = torch.from_numpy(np.stack([dataset[int(i)][0] for i in chosen]))
    pixels = _pictures(make_encoder(dataset.encoder, cfg.vae or ""), raw, decode=cfg.vae is not None).numpy()
    with atomic_path(cfg.out) as path:
        to_picture(sheet(list(pixels), side)).save(path, format="PNG")
    note = "" if cfg.vae or raw.dtype == torch.uint8 else " (the latents' first 3 channels; --vae decodes them)"
    print(f"\n{cfg.out}: contact sheet of {len(chosen)} images{note}")


def _pictures(encoder: Encoder, raw: torch.Tensor, decode: bool) -> torch.Tensor:
    """uint8 [n, C, H, W]: the pixels; of latents what the VAE makes of their means, else three channels of these."""
    if not isinstance(encoder, VAEEncoder):
        return raw
    latents = encoder.encode(raw, noise=torch.zeros_like(raw[:, : raw.shape[1] // 2], dtype=torch.float32))
    with torch.inference_mode():
        return encoder.decode(latents) if decode else (latents[:, :3] * 127.5 + 128).clip(0, 255).to(torch.uint8)
