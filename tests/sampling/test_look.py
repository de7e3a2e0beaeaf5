"""Sheets and animations of seeds."""

import numpy as np
import pytest
from PIL import Image

from edm2lite.config import GuidanceConfig, ModelRef, SampleConfig, SamplerConfig, ScheduleConfig
from edm2lite.data.sheets import sheet
from edm2lite.errors import UserError
from edm2lite.sampling.images import image_path, read_png
from edm2lite.sampling.look import check_look, trajectory
from edm2lite.sampling.pair import load_pair
from edm2lite.sampling.write import sample
from tests.sampling.test_write import config

LOOK = {"weights_sheet": (1.0, 2.0, 3.0), "compare_sheet": True, "trajectory": 4}


def guided(run, weight=2.0):
    return {"guide": ModelRef(path=str(run), nimg=80), "guidance": GuidanceConfig(weight=weight)}


@pytest.fixture(scope="module")
def looked(tiny_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("look") / "out"
    sample(config(tiny_run, out, "0-9", **guided(tiny_run), **LOOK))
    return out


def rows(path, count):
    """The images of a sheet's rows: 8 grey images of 8x8, enlarged 6 times, 50 pixels apart, at the right."""
    pixels = read_png(path)[0][:, -402:]
    return [
        [pixels[2 + 50 * r : 50 + 50 * r : 6, 2 + 50 * c : 50 + 50 * c : 6] for c in range(8)] for r in range(count)
    ]


def plain(run, out, **changes):
    """The first 8 images as `sample` writes them."""
    sample(config(run, out, "0-7", **changes))
    return [read_png(image_path(out, seed))[0] for seed in range(8)]


def test_rows_hold_the_images_that_each_weight_makes(looked, tiny_run, tmp_path):
    by_weight = rows(looked / "weights_sheet.png", 3)
    main, guide, both = rows(looked / "compare_sheet.png", 3)
    alone = plain(tiny_run, tmp_path / "main")
    assert np.array_equal(by_weight[0], alone) and np.array_equal(main, alone)
    assert np.array_equal(guide, plain(tiny_run, tmp_path / "guide", main=ModelRef(path=str(tiny_run), nimg=80)))
    two = [read_png(image_path(looked, seed))[0] for seed in range(8)]
    assert np.array_equal(by_weight[1], two) and np.array_equal(both, two)
    assert np.array_equal(by_weight[2], plain(tiny_run, tmp_path / "three", **guided(tiny_run, 3.0)))
    assert not np.array_equal(by_weight[1], by_weight[2]) and not np.array_equal(main, guide)


def test_contact_sheet(looked):
    images = [read_png(image_path(looked, seed)) for seed in range(10)]
    assert np.array_equal(read_png(looked / "contact_sheet.png"), sheet(images))


def test_trajectory_ends_in_the_images(looked):
    with Image.open(looked / "trajectory.gif") as gif:
        assert gif.n_frames == 6 and gif.info["duration"] == 120
        gif.seek(5)
        assert gif.info["duration"] == 2500
        last = np.asarray(gif.convert("L"))[-102:, :102]
    assert np.array_equal(last, sheet([read_png(image_path(looked, seed)) for seed in range(4)])[0])


def test_trajectory_shows_the_path_of_the_solver(tiny_run, tmp_path):
    """Of Heun's two evaluations at a noise level the second is at the corrected image; over batches frames grow together."""
    cfg = config(tiny_run, tmp_path, batch_size=2, sampler=SamplerConfig(num_steps=4))
    pair = load_pair(cfg.main, cfg.guide, cfg.guidance, device="cpu")
    calls = []
    frames = trajectory(cfg, pair, [5, 6, 7])
    final = [image for batch in pair.sample([5, 6, 7], cfg.sampler, 2, record=lambda s, d: calls.append((s, d)))
             for image in batch.pixels]  # fmt: skip
    levels = [sigma for sigma, _ in frames]
    assert len(levels) == 5 and levels == sorted(levels, reverse=True) and levels[0] == 80 and levels[-1] == 0
    assert all(len(images) == 3 for _, images in frames)
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(frames[-1][1], final, strict=True))
    assert [s for s, _ in calls[:7]] == [s for s in levels[:4] for _ in range(1 if s == 80 else 2)]
    for i, sigma in enumerate(levels[1:4], 1):
        corrected = pair.encoder.decode(calls[2 * i][1])[0].numpy()
        assert np.array_equal(frames[i][1][0], corrected), sigma
    assert not np.array_equal(frames[1][1][0], pair.encoder.decode(calls[1][1])[0].numpy())


@pytest.mark.parametrize(("name", "value"), [("weights_sheet", (1.0, 2.0)), ("compare_sheet", True)])
def test_a_sheet_of_a_guide_needs_one(name, value, tiny_run):
    with pytest.raises(UserError, match=rf"{name} is .* but there is no guide \(guide.path\)"):
        check_look(SampleConfig(main=ModelRef(path=str(tiny_run)), **{name: value}))
    check_look(config(tiny_run, "out", **guided(tiny_run), **{name: value}))


def test_a_sheet_of_weights_beside_a_table_of_weights_is_refused(tiny_run):
    table = {"guide": ModelRef(path="g"), "guidance": GuidanceConfig(schedule=ScheduleConfig(table=((0.1, 2.0),)))}
    with pytest.raises(UserError, match="two weights"):
        check_look(config(tiny_run, "out", weights_sheet=(1.0, 2.0), **table))
