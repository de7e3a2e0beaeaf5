"""Heat maps: which result a cell shows, what is tied, what is missing, and that it can be read."""

import re

import pytest

from edm2lite.evaluation.report.heatmap import EMAS, NIMG_WEIGHT, caption, heat_map, make_map, map_figure, save
from edm2lite.evaluation.score import Score
from edm2lite.evaluation.tables.result import Result


def result(main, guide, weight, values, nimg=64, row="sweep"):
    scores = {"fd": tuple(Score(value=v, num_images=50) for v in values)}
    return Result(row=row, main_ema=main, guide_ema=guide, guide_nimg=nimg, weight=weight, scores=scores)


RESULTS = [
    result(0.05, 0.1, 1.5, (4.0, 4.2, 4.1)),
    result(0.05, 0.1, 2.0, (3.0, 3.2, 3.1)),  # the better of its cell
    result(0.05, 0.2, 2.0, (3.1, 3.15, 3.12), nimg=128),  # tied with it, block by block
    result(0.1, 0.2, 2.5, (5.0, 5.2, 5.1), nimg=128),
    result(0.1, None, 1.0, (9.0, 9.2, 9.1), row="main alone"),
]


def test_a_cell_shows_its_best_and_what_was_not_measured_is_missing():
    drawn = make_map(RESULTS, "fd")
    assert drawn.columns == (0.1, 0.2) and drawn.rows == (0.05, 0.1)
    assert drawn.cells == {(0, 0): RESULTS[1], (0, 1): RESULTS[2], (1, 1): RESULTS[3]}
    assert drawn.tied == {(0, 0), (0, 1)} and drawn.winner == (0, 0)
    assert make_map(RESULTS, "fd", winner=RESULTS[3]).winner == (1, 1)


def test_where_higher_is_better():
    results = [result(m, g, 2.0, (v, v + 0.2, v + 0.1)) for m, g, v in ((0.05, 0.1, 1.0), (0.1, 0.2, 7.0))]
    scores = [r.scores.pop("fd") for r in results]
    for r, found in zip(results, scores, strict=True):
        r.scores["is"] = found
    drawn = make_map(results, "is")
    assert drawn.winner == (1, 1) and drawn.tied == {(1, 1)}


def test_training_length_by_weight():
    drawn = make_map(RESULTS, "fd", NIMG_WEIGHT)
    assert drawn.columns == (1.5, 2.0, 2.5) and drawn.rows == (64, 128) and len(drawn.cells) == 4
    assert "0.05/0.1" in heat_map(drawn)


@pytest.mark.parametrize("results", [[], RESULTS[:2], RESULTS[4:]])
def test_one_column_is_no_map(results):
    assert make_map(results, "fd", EMAS) is None


def test_the_drawing_says_what_it_shows():
    drawn = make_map(RESULTS, "fd")
    svg = heat_map(drawn)
    assert svg.startswith('<svg class="plot"') and "FD over EMA length of the guide and EMA length of the main" in svg
    written = re.findall(r"<text[^>]*>([^<]*)<", svg)
    for text in ("3.100", "w 2", "3.123", "5.100", "w 2.5"):
        assert text in written
    assert "4.100" not in written and "9.100" not in written
    assert caption(drawn).startswith("FD of 3 x 50 images")


def test_a_large_map_has_no_room_for_numbers(tmp_path):
    results = [result(0.01 * i, 0.01 * j, 2.0, (i + j, i + j + 0.1)) for i in range(1, 21) for j in range(1, 21)]
    drawn = make_map(results, "fd")
    assert len(drawn.cells) == 400 and "w 2" not in heat_map(drawn)
    save(map_figure(drawn), tmp_path / "map.png", "png", face="white")
    assert (tmp_path / "map.png").stat().st_size > 5000
