"""The panels of figure 1 hold the points of what they are named for."""

import torch

from edm2lite.config import GuidanceConfig, GuideConfig, ModelRef, SamplerConfig, Toy2dPlotConfig
from edm2lite.toy2d.figures.figure1 import draw, panels
from edm2lite.toy2d.figures.pairs import pairs
from edm2lite.toy2d.figures.regions import outliers
from edm2lite.toy2d.points import Guided2d

A, BOTH, B = (ModelRef(path=f"exact:{name}") for name in ("A", "AB", "B"))
FEW = SamplerConfig(num_steps=3, sigma_max=5.0)
CFG = Toy2dPlotConfig(
    main=A, guide=B, cfg_guide=BOTH, weight=1.5, cfg_weight=2.0, truncation=1.3, sampler=FEW, num_points=12, first_seed=5
)  # fmt: skip


def test_panels_hold_the_points_of_their_guidance():
    calls = []
    shown = panels(CFG, pairs(CFG), lambda: calls.append(1))
    by_hand = {
        "No guidance": Guided2d(A, sampler=FEW),
        "CFG, $w = 2$": Guided2d(A, [GuideConfig(path="exact:AB", weight=2.0)], sampler=FEW),
        "Score scaling by 1.3": Guided2d(A, guidance=GuidanceConfig(truncation=1.3), sampler=FEW),
        "Autoguidance, $w = 1.5$": Guided2d(A, [GuideConfig(path="exact:B", weight=1.5)], sampler=FEW),
    }
    assert [panel.title for panel in shown] == ["Ground truth", *by_hand] and len(calls) == 5
    for panel, pair in zip(shown[1:], by_hand.values(), strict=True):
        assert torch.equal(panel.points, pair(range(5, 17)).double())
        assert torch.equal(panel.outlier, outliers(panel.points))
    assert len(shown[0].points) == 12 and not shown[0].outlier.any()


def test_the_figure_shows_every_point_once_in_a_view_that_holds_it():
    shown = panels(CFG, pairs(CFG))
    figure = draw(shown, 8)
    for axes, panel in zip(figure.axes, shown, strict=False):  # the upper row comes first
        drawn = sum(len(line.get_xdata()) for line in axes.lines)
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        x, y = panel.points.T
        assert drawn == int(((x >= left) & (x <= right) & (y >= bottom) & (y <= top)).sum())
        assert f"{float(panel.outlier.double().mean()):.1%}" in axes.get_xlabel()
