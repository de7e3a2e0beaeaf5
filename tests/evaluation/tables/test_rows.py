"""Tables that make no sense are refused, each in one line that says what to do."""

from dataclasses import asdict, replace

import pytest

from edm2lite.config import (
    ClassifierConfig,
    DataConfig,
    GuidanceConfig,
    GuideConfig,
    ModelRef,
    TableConfig,
    TableRow,
    plain,
)
from edm2lite.config.cells import cells
from edm2lite.errors import UserError

GUIDE = ModelRef(path="g")

BAD_ROWS = {
    "weight without a guide": ({"weights": (2.0,)}, "1 without a guide"),
    "no guidance": ({"guide": GUIDE, "weights": (1.0, 2.0)}, "other than 1, where there is no guidance"),
    "guidance nobody sees": ({"guidance": GuidanceConfig(truncation=1.1)}, "row 'x' has guidance but no guide, and vary"),
    "two weights": (
        {"guide": GUIDE, "guidance": GuidanceConfig(weight=3.0), "weights": (2.0,)},
        r"guidance.weight of row 'x' is 3, and its weights are \[2.0\]",
    ),
    "two scales": (
        {"vary": "classifier", "guidance": GuidanceConfig(classifier=ClassifierConfig(path="c", scale=0.5)), "weights": (1.0,)},
        r"guidance.classifier.scale of row 'x' is 0.5",
    ),
    "unknown variation": ({"vary": "w"}, "unknown vary of row 'x' 'w'; choose one of: weight, truncation"),
    "no settings": ({"weights": ()}, r"weights of row 'x' is \[\]; it must be at least one value"),
    "a setting twice": ({"main_ema": (0.1, 0.1)}, r"main_ema of row 'x' is \[0.1, 0.1\]; .* none twice"),
    "a length of EMA too many": ({"main": ModelRef(path="m", ema=0.1)}, "main.ema of row 'x' is 0.1; .* given as main_ema"),
    "EMA of no guide": ({"guide_ema": (0.1, 0.05)}, "guide_ema of row 'x' is given, but the row has no guide.path"),
    "times of no guide": (
        {"guide_nimg": (160,), "vary": "truncation", "weights": (1.1,)},
        "guide_nimg of row 'x' is given, but the row has no guide.path",
    ),
    "two times of a guide": (
        {"guide": ModelRef(path="g", nimg=80), "guide_nimg": (160,), "weights": (2.0,)},
        r"row 'x' has guide.nimg 80 and guide_nimg \['160'\]; leave one of the two out",
    ),
    "name of two lines": ({"name": "x\ny"}, r"name of a row is 'x\\ny'; it must be one line of text"),
    "no name": ({"name": " "}, "name of a row is ' '; it must be one line of text, not empty"),
    "published of nothing known": ({"published": {"fidd": 1.0}}, "published of row 'x': unknown metric 'fidd'; choose one"),
    "published no number": ({"published": {"fid": float("nan")}}, "published fid of row 'x' is nan; .* a finite number"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_ROWS)
def test_rows_that_make_no_sense(name):
    settings, message = BAD_ROWS[name]
    with pytest.raises(UserError, match=message):
        TableRow(**{"name": "x"} | settings)


ROWS = (TableRow(name="a"), TableRow(name="b"))
BAD_TABLES = {
    "rows of one name": ({"rows": (ROWS[0], ROWS[0])}, "names of the rows is .* different from each other"),
    "row that is not there": ({"rows": ROWS, "only_row": 2}, "the index of one of the 2 rows"),
    "EMA of the main": ({"main": ModelRef(path="x", ema=0.1)}, "given as main_ema of the rows"),
    "no blocks": ({"blocks": 0}, "blocks is 0; it must be at least 1"),
    "one image": ({"num_images": 1}, "num_images is 1; it must be at least 2"),
    "unknown metric": ({"metrics": ("fid", "fid2")}, "unknown metric 'fid2'"),
    "published but not computed": (
        {"rows": (TableRow(name="a", published={"fd_dinov2": 30.0}),), "metrics": ("fid", "prdc")},
        "row 'a' has a published fd_dinov2, but the table's metrics are fid, precision, .*; leave it out, or add fd_dinov2",
    ),
    "devices and shard": ({"devices": 2, "shard": "0/2"}, "devices is 2 and shard is 0/2; leave one of the two out"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_TABLES)
def test_tables_that_make_no_sense(name):
    settings, message = BAD_TABLES[name]
    with pytest.raises(UserError, match=message):
        TableConfig(**settings)


def test_other_names_of_a_metric_are_the_metric():
    rows = (TableRow(name="a", published={"fd_inception": 1.0}),)
    assert TableConfig(rows=rows, metrics=("fid",)).rows == rows


def test_all_combinations_of_a_row_are_settings():
    row = TableRow(
        name="x", guide=GUIDE, main_ema=(0.1, 0.2), guide_ema=(0.05,), guide_nimg=(None, 64), weights=(1.5, 2.0, 3.0)
    )
    found = list(cells(TableConfig(main=ModelRef(path="m"), rows=(row, TableRow(name="alone")))))
    assert len(found) == 2 * 2 * 3 + 1
    assert {(c.main.ema, c.guides[0].nimg, c.weight) for c in found[:-1]} == {
        (ema, nimg, w) for ema in (0.1, 0.2) for nimg in (None, 64) for w in (1.5, 2.0, 3.0)
    }
    assert (
        all(c.guides[0].weight == c.weight and c.guides[0].ema == 0.05 for c in found[:-1]) and found[-1].guides == ()
    )
    assert [part for part, _ in found[0].parts] == ["main", "guide"] and [p for p, _ in found[-1].parts] == ["main"]


def test_a_blend_shares_the_weight_and_a_row_may_bring_its_own_main():
    blend = GuidanceConfig(guides=(GuideConfig(path="a", weight=1.3), GuideConfig(path="b", weight=1.7)))
    rows = (
        TableRow(name="blend", guidance=blend, weights=(3.0,)),
        TableRow(name="worse", main=ModelRef(dropout=0.1)),
        TableRow(name="own", main=ModelRef(path="other")),
    )
    first, worse, own = cells(TableConfig(main=ModelRef(path="m", nimg=7), rows=rows))
    assert [(g.path, pytest.approx(g.weight)) for g in first.guides] == [("a", 1.6), ("b", 2.4)]
    assert worse.main == replace(ModelRef(path="m", nimg=7), dropout=0.1) and own.main == ModelRef(path="other")


def test_a_classifier_is_one_of_the_parts():
    row = TableRow(
        name="x", vary="classifier", guidance=GuidanceConfig(classifier=ClassifierConfig(path="c")), weights=(0.5,)
    )
    (setting,) = cells(TableConfig(main=ModelRef(path="m"), rows=(row,)))
    assert [(part, ref.path) for part, ref in setting.parts] == [("main", "m"), ("classifier", "c")]
    assert setting.guidance.classifier.scale == 0.5


def test_a_configuration_survives_being_plain():
    row = TableRow(name="x", guide=GUIDE, weights=(2.0,), published={"fid": 1.0}, guide_nimg=(160, None))
    full = TableConfig(main=ModelRef(path="m"), metrics=("fid",), rows=(row,), ref_data=DataConfig(path="d"))
    assert TableConfig.from_plain(plain(asdict(full))) == full
