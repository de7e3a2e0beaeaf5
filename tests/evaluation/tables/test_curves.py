"""Pictures of a table: which rows share a panel, what the lines are."""

from dataclasses import asdict, replace

import pytest

from edm2lite.config import ModelRef, TableConfig, TableRow
from edm2lite.config.units import plain
from edm2lite.evaluation.tables.curves import curves_figure, write_curves
from tests.evaluation.tables.conftest import result, table

DROPPED = ModelRef(dropout=0.1)


def row(name, weights=(1.0,), main=DROPPED):
    guide = ModelRef() if weights == (1.0,) else ModelRef(path="guide")
    return TableRow(name=name, main=main, guide=guide, weights=weights)


def made(*rows, values=lambda name, weight: weight):
    """A table whose values are the given function of row and weight, plus and minus 0.1."""
    cfg = TableConfig(title="T", main=ModelRef(path="main"), rows=rows)
    results = [
        result(values(r.name, w) - 0.1, values(r.name, w) + 0.1, row=r.name, weight=w, guide=None if r.alone else 0.1)
        for r in rows
        for w in r.weights
    ]
    return table(*results, config=plain(asdict(cfg)))


@pytest.fixture
def two_mains():
    """A main and a worse one, alone and guided; of one guided row there is a single weight."""
    clean = ModelRef()
    return made(
        row("main", main=clean), row("earlier", (1.5, 2.0), clean), row("one weight", (1.5,), clean),
        row("dropout"), row("dropped", (2.0, 3.0, 1.5)),
        values={"main": 4.0, "dropout": 6.0}.get,
    )  # fmt: skip


def lines_of(axes):
    return {line.get_label().split(" (")[0]: (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}


def test_rows_with_the_same_main_share_a_panel(two_mains):
    first, second = (lines_of(axes) for axes in curves_figure(two_mains).axes)
    assert first == {"main": ([0, 1], [4.0, 4.0]), "earlier": ([1.0, 1.5, 2.0], [4.0, 1.5, 2.0])}
    assert second == {
        "main": ([0, 1], [4.0, 4.0]), "dropout": ([0, 1], [6.0, 6.0]),
        "dropped": ([1.0, 1.5, 2.0, 3.0], [6.0, 1.5, 2.0, 3.0]),
    }, "its own main alone beside the best; from that on, by weight"  # fmt: skip


def test_bands_are_standard_deviations(two_mains):
    band = curves_figure(two_mains).axes[0].collections[-1].get_paths()[0].vertices
    sd = 0.2 / 2**0.5
    assert {(x, round(y, 6)) for x, y in band} == {
        (x, round(y + sign * sd, 6)) for x, y in ((1.0, 4.0), (1.5, 1.5), (2.0, 2.0)) for sign in (-1, 1)
    }


def test_no_panel_has_more_than_six_lines():
    many = made(row("dropout"), *(row(str(i), (1.5, 2.0)) for i in range(13)))
    found = [set(lines_of(axes)) - {"dropout"} for axes in curves_figure(many).axes]
    assert [len(names) for names in found] == [5, 5, 3] and set.union(*found) == {str(i) for i in range(13)}


def test_values_far_apart_are_on_a_logarithmic_axis(two_mains):
    far = made(row("dropout"), row("dropped", (1.5, 2.0)), values=lambda name, w: 10**w)
    assert (
        curves_figure(far).axes[0].get_yscale() == "log" and curves_figure(two_mains).axes[0].get_yscale() == "linear"
    )


def test_pictures_are_written_where_there_are_curves(two_mains, tmp_path):
    write_curves(tmp_path, replace(two_mains, config={"title": "a sweep"}))
    write_curves(tmp_path, made(row("dropout"), row("dropped", (1.5,))))
    assert list(tmp_path.iterdir()) == []
    write_curves(tmp_path, two_mains)
    assert {p.name for p in tmp_path.iterdir()} == {"curves.png", "curves.svg"}
