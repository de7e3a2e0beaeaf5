"""`edm2lite toy2d plot`: what it writes, and what it refuses."""

from dataclasses import replace

import pytest
from PIL import Image

from edm2lite.config import ModelRef, SamplerConfig, Toy2dPlotConfig
from edm2lite.errors import UserError
from edm2lite.toy2d.figures import canvas
from edm2lite.toy2d.plot import plot

A, BOTH = ModelRef(path="exact:A"), ModelRef(path="exact:AB")
TINY = Toy2dPlotConfig(
    main=A, guide=BOTH, cfg_guide=BOTH, weight=1.5, sampler=SamplerConfig(num_steps=3, sigma_max=5.0),
    num_points=20, num_paths=5, moving_points=9, frames=4, grid=16,
)  # fmt: skip


def test_one_command_writes_figures_and_animation(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(canvas, "_DPI", 30)
    plot(replace(TINY, outdir=str(tmp_path)))
    out = capsys.readouterr().out
    names = {"figure1.png", "figure1.pdf", "figure2.png", "figure2.pdf", "trajectories.gif"}
    assert {p.name for p in tmp_path.iterdir()} == names
    assert all(str(tmp_path / name) in out for name in names) and "Ground truth: 0.0% outliers" in out
    for name, width in (("figure1", 5 * 2.5), ("figure2", 3 * 3.6)):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.width == round(30 * width)
        pdf = (tmp_path / f"{name}.pdf").read_bytes()
        assert pdf.startswith(b"%PDF") and pdf.count(b"/Type /Page ") == 1
    with Image.open(tmp_path / "trajectories.gif") as gif:
        assert gif.n_frames == 4 and gif.size == (880, 484) and gif.info["loop"] == 0
        times = [gif.seek(i) or gif.info["duration"] for i in range(4)]
        assert times[:3] == [times[0]] * 3 and times[3] > 10 * times[0]


@pytest.mark.parametrize("role", ["main", "guide", "cfg_guide"])
def test_a_missing_model_is_named_before_anything_is_written(tmp_path, role):
    missing = {role: ModelRef(path=str(tmp_path / "nowhere"))}
    with pytest.raises(UserError, match="nowhere does not exist"):
        plot(replace(TINY, outdir=str(tmp_path / "out"), **missing))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_paths": 0}, "num_paths"),
        ({"frames": 1}, "frames"),
        ({"sigma": 0.0}, "sigma"),
        ({"sampler": SamplerConfig(S_churn=1.0)}, "S_churn"),
        ({"sampler": SamplerConfig(solver="ancestral")}, "solver is ancestral"),
        ({"guide": ModelRef(path="exact:A", sigma_scale=1.1)}, "no density"),
    ],
)
def test_settings_without_a_meaning_are_refused(changes, said):
    with pytest.raises(UserError, match=said):
        replace(Toy2dPlotConfig(), **changes)


def test_the_same_figure_makes_the_same_bytes(tmp_path):
    from matplotlib.figure import Figure

    made = []
    for name in ("a", "b"):
        figure = Figure(figsize=(1, 1))
        figure.subplots().plot([0, 1], [0, 1], label=r"$\sigma$")
        made.append([path.read_bytes() for path in canvas.write(figure, tmp_path / name)])
    assert made[0] == made[1]
    assert b"CreationDate" not in made[0][1]  # a later second would be another file
