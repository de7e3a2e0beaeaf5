"""Sheets of samples: of which models, at which weights, how large."""

import numpy as np
import pytest

from edm2lite.config import GuidanceConfig, GuideConfig, ModelRef, TableConfig, TableRow, all_guides
from edm2lite.evaluation.report import samples
from edm2lite.evaluation.report.markup import picture
from edm2lite.evaluation.report.samples import sample_sheets, some_weights
from edm2lite.sampling.pair import Pair, load_pair


def test_few_weights_are_all_shown_and_of_many_the_ends_and_the_best():
    assert some_weights([2.0, 1.5, 2.0], 2.0) == [1.5, 2.0]
    many = [1 + i / 10 for i in range(1, 31)]
    chosen = some_weights(many, 1.7)
    assert len(chosen) <= samples.MOST_WEIGHTS and {1.1, 1.7, 4.0} <= set(chosen) and chosen == sorted(chosen)


@pytest.fixture(scope="module")
def strips(table):
    return samples._strips(table, TableConfig.from_plain(table.config), table.best(True), [3, 4, 5], "cpu")


def test_strips_show_the_best_models_at_rising_weight_and_apart(strips):
    rising, parts = strips
    assert [name for name, _ in rising] == ["main alone", "w = 1.5", "w = 2 (best)", "w = 3"]
    assert [name for name, _ in parts] == ["main", "guide", "both"]
    assert parts[0][1] is rising[0][1] and parts[2][1] is rising[2][1]


def test_models_are_loaded_once_for_all_weights(table, monkeypatch):
    loaded = []
    monkeypatch.setattr(
        samples, "load_pair", lambda *args, **kwargs: loaded.append(load_pair(*args, **kwargs)) or loaded[0]
    )
    samples._strips(table, TableConfig.from_plain(table.config), table.best(True), [3], "cpu")
    assert len(loaded) == 1


@pytest.mark.parametrize(
    ("guidance", "vary", "weight", "expected"),
    [
        ({}, "weight", 3.0, [3.0]),
        ({"guides": (GuideConfig(path="a", weight=3.0), GuideConfig(path="b", weight=0.0))}, "weight", 2.0, [3.0, 0.0]),
        ({"weight": 1.5}, "truncation", 1.1, [1.5]),
    ],
)
def test_other_weights_are_those_of_the_row(guidance, vary, weight, expected):
    """Without models: what is loaded is replaced by names."""
    guidance, guide = (
        GuidanceConfig(**guidance),
        ModelRef() if "guides" in guidance else ModelRef(path="g", dropout=0.1),
    )
    row = TableRow(name="r", guide=guide, guidance=guidance, vary=vary, weights=(1.2, weight))
    guides = tuple(zip("ab", all_guides(guide, row.guided_by(1.2)), strict=False))
    at = samples._at(Pair("main", guides=guides, guidance=row.guided_by(1.2)), row, weight)
    assert [cfg.weight for _, cfg in at.guides] == expected and at.guidance == row.guided_by(weight)
    assert tuple(cfg for _, cfg in at.guides) == all_guides(guide, row.guided_by(weight))


def test_the_images_are_those_of_the_named_snapshots(strips, table, runs):
    cfg, (rising, parts) = TableConfig.from_plain(table.config), strips
    main, guide = runs
    for found, path, nimg, ema in ((rising[0][1], main, 320, 0.1), (parts[1][1], guide, 160, 0.05)):
        file = ModelRef(path=str(path / "snapshots" / f"{nimg}-ema{ema}.safetensors"))
        pair = load_pair(file, ModelRef(), type(cfg.rows[0].guidance)(), device="cpu")
        expected = np.concatenate([batch.pixels.numpy() for batch in pair.sample([3, 4, 5], cfg.sampler, 3)])
        np.testing.assert_array_equal(np.stack(found), expected)
    assert not np.array_equal(np.stack(rising[0][1]), np.stack(rising[2][1]))


def test_nothing_guided_and_damaged_files_are_told(table, tmp_path):
    from dataclasses import replace

    cfg = TableConfig.from_plain(table.config)
    alone = replace(table, results=[r for r in table.results if not r.guided])
    assert "nothing to show" in sample_sheets(alone, cfg, [0], "cpu")
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"no snapshot")
    assert "cannot be loaded" in sample_sheets(table, replace(cfg, main=ModelRef(path=str(bad))), [0], "cpu")


def test_large_images_are_shrunk_and_colour_is_kept_small():
    noise = np.random.RandomState(0).randint(0, 255, (3, 512, 256), dtype=np.uint8)
    assert samples._shrunk(noise).shape == (3, 128, 64)
    assert samples._shrunk(noise[:, :8, :8]).shape == (3, 8, 8)
    assert picture(noise, "noise").startswith('<img src="data:image/jpeg')
    assert picture(noise[:1, :64], "grey").startswith('<img src="data:image/png')
