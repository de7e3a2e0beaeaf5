"""Sheets, captions, animations."""

import numpy as np
from PIL import Image

from edm2lite.data.sheets import GAP, captioned, row_sheet, sheet, write_gif


def flat(value, channels=1, side=8):
    return np.full((channels, side, side), value, np.uint8)


def test_sheet_layout():
    grid = sheet([flat(v) for v in (10, 20, 30)], columns=2, least_side=16)
    assert grid.shape == (1, 2 * 18 + 2, 2 * 18 + 2)
    assert grid[0, 3, 3] == 10 and grid[0, 3, 3 + 18] == 20 and grid[0, 3 + 18, 3] == 30 and grid[0, -3, -3] == 255


def test_every_row_has_its_caption_on_the_left():
    for channels in (1, 3):
        images = [flat(60, channels, 64)] * 3
        rows = row_sheet([("w = 1", images), ("w = 12.5", images)])
        grid = sheet(images * 2, columns=3)
        assert np.array_equal(rows[:, :, -grid.shape[2] :], grid)
        margin = rows[0, :, : -grid.shape[2]]
        halves = margin[:66] < 128, margin[GAP + 66 :] < 128
        short, long = (np.flatnonzero(half.any(axis=0)) for half in halves)
        assert short[0] > 0 and short[-1] < long[-1] < margin.shape[1] - 1, "the longer caption is whole"
        heights = [np.flatnonzero(half.any(axis=1)) for half in halves]
        assert all(h[-1] - h[0] >= 8 for h in heights), "legible"
        assert all(24 < h.mean() < 42 for h in heights), "in the middle of its row"


def test_captions_widen_small_pictures_alike():
    a, b = captioned([("x", flat(60)), ("sigma = 0.00213", flat(70))])
    assert a.shape == b.shape and a.shape[2] > 80
    assert (a[0, -8:, :8] == 60).all() and (b[0, -8:, :8] == 70).all() and (a[0, -8:, 8:] == 255).all()
    assert 0 < (a[0, :-8] < 128).sum() < (b[0, :-8] < 128).sum()


def test_gif_holds_frames_times_and_grey_levels(tmp_path):
    frames = [np.arange(256, dtype=np.uint8).reshape(1, 16, 16) // n for n in (1, 2, 3)]
    for name in ("a.gif", "b.gif"):
        write_gif(tmp_path / name, frames, [100, 100, 2000])
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 3 and gif.info["loop"] == 0
        for i, frame in enumerate(frames):
            gif.seek(i)
            assert gif.info["duration"] == (2000 if i == 2 else 100)
            assert np.array_equal(np.asarray(gif.convert("L")), frame[0])


def test_gif_of_colours(tmp_path):
    frames = [np.stack([np.full((8, 8), v, np.uint8) for v in colour]) for colour in ((255, 0, 0), (0, 40, 255))]
    write_gif(tmp_path / "a.gif", frames, [100, 100])
    with Image.open(tmp_path / "a.gif") as gif:
        for i, frame in enumerate(frames):
            gif.seek(i)
            assert np.abs(np.asarray(gif.convert("RGB")).transpose(2, 0, 1).astype(int) - frame).max() <= 2


def test_gif_dithers_gradients(tmp_path):
    """256 colours for 65,536: without dithering most small blocks are of one colour."""
    y, x = np.mgrid[:256, :256]
    frame = np.stack([x, y, (x + y) // 2]).astype(np.uint8)
    write_gif(tmp_path / "a.gif", [frame, 255 - frame], [100, 100])
    with Image.open(tmp_path / "a.gif") as gif:
        blocks = np.asarray(gif.convert("RGB")).transpose(2, 0, 1).reshape(3, 64, 4, 64, 4)
    assert (blocks.max((2, 4)) == blocks.min((2, 4))).all(0).mean() < 0.2
