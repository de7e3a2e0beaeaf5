"""Curves: which results they join, their error bars, published values, and colours that can be seen."""

import re
from dataclasses import replace

import pytest

from edm2lite.config import TableConfig
from edm2lite.evaluation.report.drawing import COLORS, Line, draw
from edm2lite.evaluation.report.plots import best_lines, error_name, error_of, over_ema, over_weight
from tests.evaluation.report.conftest import make_table


@pytest.fixture(scope="module")
def cfg(table):
    return TableConfig.from_plain(table.config)


def test_a_line_has_the_models_of_the_best_value_and_begins_at_its_own_main_alone(table, cfg):
    (line,) = best_lines(table, cfg, "fid")
    assert [(r.main_ema, r.guide_ema, r.weight) for r in line] == [
        (0.1, None if r is None else 0.05, w) for r, w in ((1, 1.0), (1, 1.5), (1, 2.0), (1, 3.0))
    ]
    alone = next(r for r in table.results if not r.guided and r.main_ema == 0.1)
    assert line[0].scores == alone.scores and line[0].row == "guided <b>"


def test_each_metric_has_the_models_that_are_best_by_it(table, cfg):
    results = [
        replace(r, scores={**r.scores, "is": tuple(replace(s, value=1000.0) for s in r.scores["is"])})
        if (r.main_ema, r.guide_ema) == (0.05, 0.1)
        else r
        for r in table.results
    ]
    changed = replace(table, results=results)
    assert {(r.main_ema, r.guide_ema) for r in best_lines(changed, cfg, "is")[0]} == {(0.05, 0.1)}
    assert {(r.main_ema, r.guide_ema) for r in best_lines(changed, cfg, "fid")[0]} == {(0.1, 0.05)}


def test_error_bars_are_the_sd_over_blocks_or_the_jackknife_of_one(table, runs):
    assert error_of(table.results[0], "fid") == pytest.approx(0.1), "values 0.1 apart"
    single = make_table(*runs, blocks=1)
    assert error_of(single.results[0], "fid") == 0.125
    assert "jackknife" in error_name(single, "fid") and "standard deviation" in error_name(table, "fid")


def test_the_published_value_and_the_best_alone_are_drawn_and_named(table, cfg):
    drawn = over_weight(table, cfg, "fid", "weight")
    assert "published: 1.34" in drawn and "best without guidance (EMA 0.1)" in drawn
    assert drawn.count("stroke-dasharray: 4") == 1, "one dashed line in the drawing"
    unpublished = over_weight(table, cfg, "is", "weight")
    assert "published" not in unpublished and "stroke-dasharray: 4" not in unpublished
    assert over_weight(table, cfg, "fid", "classifier") is None


def test_a_curve_over_ema_needs_two_lengths(table, cfg):
    assert over_ema(table, cfg, "fid").count("<svg") == 1 + 1, "drawing and legend"
    assert over_ema(replace(table, results=table.results[:1]), cfg, "fid") is None


def test_two_drawings_on_a_page_share_no_id():
    lines = [Line("a", [1, 2], [1, 2], 0, [0.1, None]), Line("b", [1, 2], [2, 1], 1)]
    first, second = (set(re.findall(r' id="([^"]+)"', draw(lines, "x", y))) for y in ("one", "two"))
    assert first and second and not first & second


def test_drawings_take_the_ink_of_the_page():
    drawn = draw([Line("a", [1, 2], [1, 2], 0)], "x", "y")
    assert drawn.count("currentColor") > 10 and "#010203" not in drawn and "#000000" not in drawn


def test_large_ranges_are_logarithmic_and_negative_values_are_not():
    decades = draw([Line("a", [1, 2], [1, 1000], 0)], "x", "y")
    assert ">10<" in decades and ">100<" in decades
    assert ">0<" in draw([Line("a", [1, 2], [-100, 1000], 0)], "x", "y")


def luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("paper", ["#ffffff", "#14171b"])
def test_lines_are_seen_on_white_and_on_dark(paper):
    for color in COLORS:
        light, dark = sorted((luminance(color), luminance(paper)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3, f"{color}: WCAG 2.1, 1.4.11"
