"""What scored settings say, and that they survive being written."""

import json
from dataclasses import replace

import pytest

from edm2lite.errors import UserError
from edm2lite.evaluation.tables.marks import BEST, TIED, marks
from edm2lite.evaluation.tables.results import compare, number, read_table, read_tables, save_table
from tests.evaluation.tables.conftest import result, scores, table


def spread_around(mean, sd=0.1, guide=None, weight=1.0):
    return result(mean - sd, mean, mean + sd, guide=guide, weight=weight)


@pytest.mark.parametrize(
    ("guided", "word"), [(1.5, "guidance wins"), (1.95, "no difference beyond the spread"), (2.5, "guidance loses")]
)
def test_verdict(guided, word):
    line = compare("here", spread_around(2.0), spread_around(guided, guide=0.1, weight=2.0), "fd")
    assert line == (
        f"here: 2.000 -> {guided:.3f}, gain {2 - guided:.3f} (sd of paired differences 0.000), spread 0.100: {word}"
    )


def test_the_paired_spread_is_that_of_the_differences_block_by_block():
    a, b = result(1.0, 2.0, 3.0), result(0.5, 1.7, 2.2, weight=2.0)
    assert "gain 0.533 (sd of paired differences 0.252), spread 1.000: no difference" in compare("x", a, b, "fd")
    assert "sd of paired" not in compare("x", a, replace(b, first_seed=1000), "fd"), "no seeds in common"


def test_nobody_wins_whom_the_marks_call_tied():
    """A gain above the spread of either, of differences that scatter so much that chance makes it in one of twenty."""
    alone, guided = result(2.0, 2.3, 2.15), result(1.9, 1.85, 2.05, guide=0.1, weight=2.0)
    both = table(alone, guided)
    assert marks(both, "fd") == [TIED, BEST]
    (line,) = both.verdict()[2:]
    assert line.endswith(
        "gain 0.217 (sd of paired differences 0.202), spread 0.150: no difference beyond chance (95 %, paired)"
    )


def test_where_higher_is_better_gains_are_rises():
    low = result(metrics={"is": scores(9.0, 9.1)})
    high = result(metrics={"is": scores(10.0, 10.2)}, weight=2.0)
    assert compare("x", low, high, "is") == (
        "x: 9.050 -> 10.100, gain 1.050 (sd of paired differences 0.071), spread 0.141: guidance wins"
    )
    assert table(high, low).best_of_rows() == [high] and table(low, high).best(True) is high


def test_of_one_block_the_standard_error_decides():
    def one(value, offset, weight=1.0):  # leave-one-out values whose differences have a known jackknife error
        groups = tuple(value + offset * (-1) ** k for k in range(10))
        return result(metrics={"fd": scores(value, se=0.3, leave_one_out=groups)}, weight=weight)

    a, b = one(2.0, 0.02), one(1.0, 0.12, weight=2.0)
    assert a.spread("fd") is None and a.se("fd") == pytest.approx(0.3)
    # differences deviate by 0.1: sqrt(9/10 * 10 * 0.01) = 0.3, and t with 9 degrees of freedom is 2.262
    assert compare("x", a, b, "fd").endswith("gain 1.000, standard error of the gain 0.300: guidance wins")
    near = one(1.4, 0.12, weight=2.0)
    assert compare("x", a, near, "fd").endswith("error of the gain 0.300: no difference beyond the error")
    assert "nothing follows" in compare("x", result(2.0), result(1.0, weight=2.0), "fd")


def test_mean_spread_error_and_what_is_compared():
    r = result(metrics={"fid": scores(3.0, 1.0, 2.0, se=0.3), "fd_dinov2": scores(30.0, 10.0, 20.0)})
    assert (r.mean("fid"), r.spread("fid")) == (2.0, 1.0)
    assert r.se("fid") == pytest.approx(0.3 / 3**0.5) and r.se("fd_dinov2") is None and r.extrapolated("fid") is None
    assert (r.compared("fid"), r.compared("fd_dinov2")) == (1.0, 20.0), "the papers' FID is the minimum of three"
    assert list(result(1.0, 2.0, first_seed=40).blocks("fd")) == [(40, 10), (50, 10)]


def test_best_of_an_empty_table_and_of_rows():
    a, b, c = result(3.0, 3.1), result(2.0, 2.1, row="s"), result(1.0, 1.1, row="s", weight=2.0)
    assert table(a, b, c).best(False) is b and table(a, b, c).best(True) is c
    assert table(a, b, c).best_of_rows() == [c, a] and table().best(True) is None and marks(table(), "fd") == []


def test_ties_are_told_by_paired_differences():
    best = result(1.0, 2.0, 3.0)
    parallel = result(1.1, 2.1, 3.1)  # always worse by 0.1: told apart, though the spreads are ten times that
    crossing = result(1.2, 1.9, 3.1)
    assert marks(table(parallel, best, crossing), "fd") == ["", BEST, TIED]
    twin = result(1.0, 2.0, 3.0, row="twin")
    assert marks(table(best, twin), "fd") == [BEST, TIED]


def test_kernel_distances_have_digits():
    assert (number("kid", 0.00123), number("fid", 1.23456), number("fid", 0.5, "+")) == ("0.00123", "1.235", "+0.500")


def test_a_table_survives_being_written(paper_like, tmp_path):
    full = replace(paper_like, confirmed={False: paper_like.results[0], True: paper_like.results[1]})
    save_table(tmp_path, full, [{"any": 1}])
    assert read_tables([str(tmp_path)]) == [full]
    data = json.loads((tmp_path / "table.json").read_text())
    assert data["verdict"] == full.verdict() and data["summary"] == [{"any": 1}]


def test_what_cannot_be_read_is_one_clear_line(paper_like, tmp_path):
    with pytest.raises(UserError, match="no finished table"):
        read_table(tmp_path)
    with pytest.raises(UserError, match="no tables were named"):
        read_tables([])
    save_table(tmp_path, paper_like)
    text = (tmp_path / "table.json").read_text()
    empty = json.dumps(json.loads(text) | {"results": []})
    for damaged in (text[:-50], "{}", "[]", "null", text.replace('"metrics"', '"metrix"'), empty):
        (tmp_path / "table.json").write_text(damaged)
        with pytest.raises(
            UserError, match=r"table.json is damaged, or of another version .*run its evaluate.py table"
        ):
            read_table(tmp_path)
