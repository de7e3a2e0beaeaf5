"""Figure 1: samples of each way of guiding, over the true distribution."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edm2lite.config import Toy2dPlotConfig
from edm2lite.toy2d.figures.canvas import FRAME, OTHER, REGION, bare, scatter
from edm2lite.toy2d.figures.pairs import Pairs
from edm2lite.toy2d.figures.regions import SIGMA, Box, Region, around, outliers, region
from edm2lite.toy2d.truth import ground_truth

CLOSEUP = Box((0.62, 1.22), (0.18, 0.86))  # branches of the fourth generation and later
_MARGIN = 0.12
_WIDTH = 2.5  # inches a panel


@dataclass(frozen=True)
class Panel:
    """Points [N, 2] of one way of guiding; outlier: bool [N]."""

    title: str
    points: Tensor
    outlier: Tensor


def panels(cfg: Toy2dPlotConfig, samplers: Pairs, done: Callable[[], Any] = lambda: None) -> list[Panel]:
    """Samples of the truth and of each way of guiding, these from the same seeds.

    Args:
        cfg: How many, from which seed.
        samplers: What makes them.
        done: Called after each.
    """
    seeds = range(cfg.first_seed, cfg.first_seed + cfg.num_points)
    ways: dict[str, Callable[[], Tensor]] = {
        "Ground truth": lambda: _true_points(cfg.num_points, cfg.first_seed),
        "No guidance": lambda: samplers.alone(seeds),
        f"CFG, $w = {cfg.cfg_weight:g}$": lambda: samplers.cfg(seeds),
        f"Score scaling by {cfg.truncation:g}": lambda: samplers.scaled(seeds),
        f"Autoguidance, $w = {cfg.weight:g}$": lambda: samplers.autoguided(seeds),
    }
    result = []
    for title, points in ways.items():
        made = points().double()
        result.append(Panel(title, made, outliers(made)))
        done()
    return result


def _true_points(n: int, seed: int) -> Tensor:
    return ground_truth("A").sample(n, SIGMA, torch.Generator().manual_seed(seed))


def draw(shown: list[Panel], n: int) -> Any:
    """The figure: above, the whole of class A; below, a close-up.

    Args:
        shown: What the columns show.
        n: Points along a side of the grids for the regions.
    """
    from matplotlib.figure import Figure

    whole = around("A", _MARGIN)
    backgrounds = ((region("B", whole, n), OTHER), (region("A", whole, n), REGION))
    closeup = ((region("A", CLOSEUP, n), REGION),)
    heights = (whole.height, CLOSEUP.height)
    size = (_WIDTH * len(shown), _WIDTH * sum(heights) + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    rows = figure.subplots(2, len(shown), height_ratios=heights, squeeze=False)
    for i, panel in enumerate(shown):
        _panel(rows[0, i], panel, whole, backgrounds, 1.0)
        _panel(rows[1, i], panel, CLOSEUP, closeup, 2.2)
        rows[0, i].set_title(f"({'abcdefgh'[i]}) {panel.title}", fontsize=12)
        rows[0, i].set_xlabel(f"{float(panel.outlier.double().mean()):.1%} outliers", fontsize=11, color="0.25")
        _outline(rows[0, i], CLOSEUP)
    return figure


def _panel(axes: Any, panel: Panel, box: Box, regions: tuple[tuple[Region, str], ...], size: float) -> None:
    for background, color in regions:
        background.shade(axes, color)
    shown = box.holds(panel.points)
    scatter(axes, panel.points[shown], panel.outlier[shown], size)
    bare(axes, box)


def _outline(axes: Any, box: Box) -> None:
    """Show where the close-up is."""
    from matplotlib.patches import Rectangle

    width, height = box.x[1] - box.x[0], box.y[1] - box.y[0]
    axes.add_patch(Rectangle((box.x[0], box.y[0]), width, height, fill=False, ec=FRAME, lw=1))
