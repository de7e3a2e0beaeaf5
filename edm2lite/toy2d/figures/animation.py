"""The ways of many points, unguided and autoguided side by side, as an animation."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor
from torch import Tensor

from edm2lite.config import Toy2dPlotConfig
from edm2lite.files import atomic_path
from edm2lite.toy2d.figures.canvas import OUTLIER, POINT, REGION, bare
from edm2lite.toy2d.figures.pairs import Pairs
from edm2lite.toy2d.figures.regions import SIGMA, Box, Grid, Region, outliers, region
from edm2lite.toy2d.figures.walks import Walk, walk

_SIGMA_DATA = 0.5
_VIEW = Box((-1.0, 1.5), (-1.0, 1.5))
_SIZE, _DPI = (8.0, 4.4), 110  # inches, pixels an inch
_TAIL = 8  # frames
_MOVING_MS, _HELD_MS = 60, 2500
_SHADES = 32  # of each blend of two colours
_COARSEST, _FINEST = 48, 200  # points along a side for the region, while it changes
_SHARP = 0.01  # below this noise level the region does not change any more to the eye
_DRAWS = 2**13


def write_animation(path: Path, cfg: Toy2dPlotConfig, samplers: Pairs, done: Callable[[], Any] = lambda: None) -> None:
    """Write the GIF: `cfg.frames` from sigma_max to the samples, the last one held; it repeats.

    Args:
        path: Where to.
        cfg: How many frames and points, from which seed.
        samplers: Whose ways.
        done: Called after each frame.
    """
    seeds = range(cfg.first_seed, cfg.first_seed + cfg.moving_points)
    ways = {"No guidance": samplers.alone, f"Autoguidance, $w = {cfg.weight:g}$": samplers.autoguided}
    when = np.linspace(0, 1, cfg.frames)
    shown = {name: walk(pair, seeds).at(when) for name, pair in ways.items()}
    pictures = []
    for i in range(cfg.frames):
        pictures.append(indexed(frame(shown, i, cfg.grid)))
        done()
    first, *others = pictures
    times = [*[_MOVING_MS] * len(others), _HELD_MS]
    with atomic_path(path) as temporary:
        first.save(temporary, format="GIF", save_all=True, append_images=others, duration=times, loop=0)


def frame(shown: dict[str, Walk], i: int, grid: int) -> np.ndarray:
    """A picture of the walks' i-th states, a panel each: uint8 [H, W, 3].

    Args:
        shown: The walks by name, at the noise levels of the frames.
        i: Which.
        grid: Most points along a side for the region of the class.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, dpi=_DPI)
    canvas = FigureCanvasAgg(figure)
    figure.subplots_adjust(left=0.012, right=0.988, bottom=0.015, top=0.875, wspace=0.025)
    for axes, (name, ways) in zip(figure.subplots(1, len(shown)), shown.items(), strict=True):
        sigma = float(ways.sigma[i])
        _background(sigma if sigma > _SHARP else SIGMA, grid).shade(axes, REGION)
        tails = ways.scaled(_SIGMA_DATA).points[max(0, i - _TAIL) : i + 1].transpose(0, 1)
        _points(axes, tails, outliers(ways.points[-1]))
        axes.set_title(name, fontsize=12)
        bare(axes, _VIEW)
    figure.suptitle(rf"$\sigma = ${sigma:.3f}", fontsize=13, y=0.99)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def indexed(picture: np.ndarray) -> Image.Image:
    """A picture, uint8 [H, W, 3], in at most 256 colours, each pixel in the nearest: GIF packs flat areas well."""
    palette = _palette()
    red, green, blue = picture.astype(np.int32).transpose(2, 0, 1)
    colors, place = np.unique(red << 16 | green << 8 | blue, return_inverse=True)
    apart = np.stack([colors >> 16, colors >> 8 & 255, colors & 255], axis=1)[:, None] - palette.astype(np.int32)
    nearest = np.square(apart).sum(axis=2).argmin(axis=1).astype(np.uint8)
    result = Image.fromarray(nearest[place].reshape(red.shape), "P")
    result.putpalette(palette.tobytes())
    return result


@cache
def _palette() -> np.ndarray:
    """Blends of the colours that meet in a frame, uint8 [colours, 3]."""
    meeting = [("white", c) for c in ("black", REGION, POINT, OUTLIER)] + [(REGION, c) for c in (POINT, OUTLIER)]
    ends = np.array([[ImageColor.getrgb(color) for color in pair] for pair in meeting], float)
    part = np.linspace(0, 1, _SHADES)[:, None]
    return np.concatenate([(1 - part) * start + part * end for start, end in ends]).round().astype(np.uint8)


def _points(axes: Any, tails: Tensor, outlier: Tensor) -> None:
    """Points with their tails [N, frames, 2]; those that will be outliers are red from the start."""
    from matplotlib.collections import LineCollection

    for chosen, color in ((~outlier, POINT), (outlier, OUTLIER)):
        axes.add_collection(LineCollection(list(tails[chosen].numpy()), colors=color, linewidths=0.6, alpha=0.35))
        axes.plot(*tails[chosen, -1].T, ".", color=color, ms=3.6, mew=0)


@lru_cache(maxsize=1)
def _background(sigma: float, grid: int) -> Region:
    """The class's region at a noise level, in the coordinates of the view; the more noise, the fewer points it needs."""
    factor = _SIGMA_DATA / (sigma**2 + _SIGMA_DATA**2) ** 0.5
    box = Box(*(tuple(end / factor for end in ends) for ends in _VIEW))
    needed = 2 * (box.x[1] - box.x[0]) / sigma  # a step of half of sigma
    n = grid if sigma == SIGMA else int(min(max(needed, _COARSEST), _FINEST, grid))
    found = region("A", box, n, sigma, _DRAWS)
    places = found.grid
    return replace(found, grid=Grid(places.x * factor, places.y * factor, places.points * factor))
