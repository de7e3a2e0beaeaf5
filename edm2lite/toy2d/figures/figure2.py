"""Figure 2: how autoguidance acts: densities of main and guide, their ratio, and the ways of the points."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from edm2lite.config import Toy2dPlotConfig
from edm2lite.toy2d.figures.canvas import FRAME, OUTLIER, POINT, REGION, bare, scatter
from edm2lite.toy2d.figures.densities import Densities, densities, push
from edm2lite.toy2d.figures.pairs import Pairs
from edm2lite.toy2d.figures.regions import Box, Region, around, grid, outliers, region
from edm2lite.toy2d.figures.walks import Walk, walk

_MARGIN = 0.2
_WIDTH = 3.6  # inches a panel
_DECADES = 4  # densities are drawn down to 10^-4 of the highest
_RATIO = 2.0  # ln of the ratio at the ends of the colours
_ARROWS = 26  # along x
_NEAR = 0.5  # ways are drawn from this noise level on


def draw(cfg: Toy2dPlotConfig, samplers: Pairs, done: Callable[[], Any] = lambda: None) -> Any:
    """The figure.

    Args:
        cfg: Which noise level, how many ways.
        samplers: Whose densities and ways.
        done: Called after each of its three parts.
    """
    from matplotlib.figure import Figure

    box = around("A", _MARGIN)
    figure = Figure(figsize=(3 * _WIDTH, 2 * (_WIDTH * box.height + 0.25)), layout="constrained")
    top, bottom = figure.subplots(2, 3)
    main, guide = samplers.autoguided.parts.main[0], samplers.autoguided.parts.guides[0][0]
    found = densities(main, guide, box, cfg.sigma, cfg.grid)
    _densities(top, found, cfg.sigma)
    _ratio(bottom[0], found, main, guide, box, cfg.sigma)
    done()
    seeds = range(cfg.first_seed, cfg.first_seed + cfg.num_paths)
    background = region("A", box, cfg.grid)
    ways = {"no guidance": samplers.alone, f"autoguidance, $w = {cfg.weight:g}$": samplers.autoguided}
    for axes, (name, pair) in zip(bottom[1:], ways.items(), strict=True):
        _ways(axes, walk(pair, seeds), background)
        axes.set_title(f"Trajectories, {name}")
        done()
    for axes, letter in zip((*top, *bottom), "abcdef", strict=True):
        axes.set_title(f"({letter}) {axes.get_title()}", fontsize=11)
        bare(axes, box)
    return figure


def _densities(panels: Any, found: Densities, sigma: float) -> None:
    """Three log-densities in the same colours."""
    top = max(float(logp.max()) for logp in (found.truth, found.main, found.guide)) / np.log(10)
    levels = np.linspace(top - _DECADES, top, 4 * _DECADES + 1)
    names = {"Truth": found.truth, "Main model": found.main, "Guide": found.guide}
    for axes, (name, logp) in zip(panels, names.items(), strict=True):
        image = axes.contourf(found.grid.x, found.grid.y, logp / np.log(10), levels=levels, cmap="magma_r")
        axes.set_title(rf"{name}, $p(x; \sigma = {sigma:g})$")
    ticks = [np.ceil(levels[0]), np.floor(levels[-1])]
    _bar(panels[0], image, r"$\log_{10}\, p$", ticks)


def _ratio(axes: Any, found: Densities, main: Any, guide: Any, box: Box, sigma: float) -> None:
    """ln(p_main / p_guide) where one of the two is not negligible, with arrows along its gradient."""
    least = float(found.truth.max()) - _DECADES * np.log(10)
    higher = torch.maximum(found.main, found.guide)
    extent = (*found.grid.x[[0, -1]].tolist(), *found.grid.y[[0, -1]].tolist())
    image = axes.imshow(
        found.ratio.where(higher >= least, torch.nan), cmap="RdBu_r", vmin=-_RATIO, vmax=_RATIO,
        origin="lower", extent=extent, interpolation="nearest",
    )  # fmt: skip
    axes.contour(found.grid.x, found.grid.y, higher, levels=[least], colors=[FRAME], linewidths=0.8)
    _arrows(axes, found, main, guide, box, sigma)
    axes.set_title(r"$\ln\, p_\mathrm{main} / p_\mathrm{guide}$ and its gradient")
    _bar(axes, image, "", [-_RATIO, 0, _RATIO], extend="both")


def _arrows(axes: Any, found: Densities, main: Any, guide: Any, box: Box, sigma: float) -> None:
    """Arrows where the main model's density is not negligible, longer where the push is stronger, up to a limit."""
    places = grid(box, _ARROWS).points
    logp = main.logp(places, sigma).detach()
    places = places[logp > logp.max() - _DECADES * np.log(10)]
    arrows = push(main, guide, places, sigma)
    length = arrows.norm(dim=1, keepdim=True)
    room = 1.4 * (box.x[1] - box.x[0]) / (_ARROWS - 1)
    x, y = (arrows * room / (length + length.median())).T
    look = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.004, "color": "0.15", "pivot": "mid"}
    axes.quiver(*places.T, x, y, **look)


def _ways(axes: Any, ways: Walk, background: Region) -> None:
    """Lines from the noise to the samples, over the region of the class; those that end outside are red."""
    from matplotlib.collections import LineCollection

    background.shade(axes, REGION)
    outlier = outliers(ways.points[-1])
    lines = ways.points[ways.sigma <= _NEAR].transpose(0, 1)
    for chosen, color in ((~outlier, POINT), (outlier, OUTLIER)):
        axes.add_collection(LineCollection(list(lines[chosen].numpy()), colors=color, linewidths=0.6, alpha=0.55))
    scatter(axes, ways.points[-1], outlier, 5)


def _bar(axes: Any, image: Any, label: str, ticks: Any, extend: str = "neither") -> None:
    """A small scale of colours inside a panel."""
    inset = axes.inset_axes((0.06, 0.08, 0.3, 0.025))
    axes.figure.colorbar(image, cax=inset, orientation="horizontal", ticks=ticks, extend=extend)
    inset.tick_params(labelsize=8, length=2)
    inset.set_title(label, fontsize=9)
