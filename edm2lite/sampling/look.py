"""Pictures to look at: contact sheet, the same seeds over rising weights, main beside guide, the way along the noise levels."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edm2lite.config import SampleConfig, all_guides, parse_seeds
from edm2lite.data.sheets import captioned, row_sheet, sheet, write_gif
from edm2lite.errors import UserError
from edm2lite.files import atomic_path
from edm2lite.sampling.images import write_png

if TYPE_CHECKING:
    from torch import Tensor

    from edm2lite.sampling.pair import Pair
    from edm2lite.sampling.stores import Reader

CONTACT_IMAGES, ROW_IMAGES = 64, 8
FRAME_MS, LAST_FRAME_MS = 120, 2500


def check_look(cfg: SampleConfig) -> None:
    """Raise a UserError if a sheet is asked for that needs a guide, and there is none. Imports no torch."""
    asked = {"weights_sheet": list(cfg.weights_sheet), "compare_sheet": cfg.compare_sheet}
    guides = all_guides(cfg.guide, cfg.guidance)
    for name, value in asked.items():
        if value and not guides:
            raise UserError(f"{name} is {value} but there is no guide (guide.path); name one, or leave {name} out")
    for weight in cfg.weights_sheet:
        for guide in guides if weight != 1 else ():
            replace(guide, weight=weight)  # refuses a weight beside a table of weights


def write_looks(cfg: SampleConfig, pair: "Pair", images: "Reader") -> None:
    """Write contact_sheet.png, and the sheets and the animation that `cfg` asks for."""
    outdir, seeds = Path(cfg.outdir), parse_seeds(cfg.seeds)
    write_png(outdir / "contact_sheet.png", sheet([images.array(seed) for seed in seeds[:CONTACT_IMAGES]]))
    if cfg.weights_sheet:
        rows = [(f"w = {w:g}", pair.with_weights(w)) for w in cfg.weights_sheet]
        write_png(outdir / "weights_sheet.png", _sheet_of_pairs(cfg, rows, seeds[:ROW_IMAGES]))
    if cfg.compare_sheet:
        rows = [("main", pair.alone()), ("guide", pair.guide_alone()), ("guided", pair)]
        write_png(outdir / "compare_sheet.png", _sheet_of_pairs(cfg, rows, seeds[:ROW_IMAGES]))
    if cfg.trajectory:
        _write_trajectory(outdir / "trajectory.gif", cfg, pair, seeds[: cfg.trajectory])


def _sheet_of_pairs(cfg: SampleConfig, rows: list[tuple[str, "Pair"]], seeds: list[int]) -> np.ndarray:
    """The same seeds in every row, a row for each pair."""
    return row_sheet([(caption, _pixels(cfg, pair, seeds)) for caption, pair in rows])


def _pixels(cfg: SampleConfig, pair: "Pair", seeds: list[int]) -> list[np.ndarray]:
    batches = pair.sample(seeds, cfg.sampler, cfg.batch_size, cfg.label, cfg.labels)
    return [image for samples in batches for image in samples.pixels.cpu().numpy()]


def _write_trajectory(path: Path, cfg: SampleConfig, pair: "Pair", seeds: list[int]) -> None:
    frames = trajectory(cfg, pair, seeds)
    pictures = captioned([(f"sigma = {sigma:.3g}", sheet(images)) for sigma, images in frames])
    with atomic_path(path, durable=False) as temporary:
        write_gif(temporary, pictures, [FRAME_MS] * (len(pictures) - 1) + [LAST_FRAME_MS])


def trajectory(cfg: SampleConfig, pair: "Pair", seeds: Sequence[int]) -> list[tuple[float, list[np.ndarray]]]:
    """The denoised images of seeds at every noise level, and the images at 0: noise levels, and uint8 [C, H, W] each.

    Where a solver evaluates twice at a noise level, as Heun's does, the second evaluation is that of the path itself.
    """
    levels: dict[float, Tensor] = {}
    frames: dict[float, list[np.ndarray]] = {}

    def record(sigma: float, denoised: "Tensor") -> None:
        levels[sigma] = denoised

    for samples in pair.sample(seeds, cfg.sampler, cfg.batch_size, cfg.label, cfg.labels, record=record):
        for sigma, denoised in levels.items():
            pixels = pair.encoder.decode(denoised[: len(samples.seeds)])
            frames.setdefault(sigma, []).extend(pixels.cpu().numpy())
        frames.setdefault(0.0, []).extend(samples.pixels.cpu().numpy())
    return sorted(frames.items(), reverse=True)
