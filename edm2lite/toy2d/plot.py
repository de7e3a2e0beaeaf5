"""`edm2lite toy2d plot`: figures 1 and 2 of Karras et al. 2024b (arXiv 2406.02507) and the trajectories, as files."""

from pathlib import Path

from edm2lite.config import Toy2dPlotConfig
from edm2lite.progress import progress_bar
from edm2lite.toy2d.figures import animation, figure1, figure2
from edm2lite.toy2d.figures.canvas import write
from edm2lite.toy2d.figures.pairs import pairs

_PANELS, _PARTS = 5, 3  # of figure 1, of figure 2


def plot(cfg: Toy2dPlotConfig) -> None:
    """Write figure1 and figure2 as .png and .pdf, and trajectories.gif, to `cfg.outdir`, and say what lies where.

    Raises:
        UserError: If a model is missing; nothing is written then.
    """
    samplers, outdir = pairs(cfg), Path(cfg.outdir)
    with progress_bar(_PANELS + _PARTS + cfg.frames, "draw", unit="part") as bar:
        shown = figure1.panels(cfg, samplers, bar.update)
        first = write(figure1.draw(shown, cfg.grid), outdir / "figure1")
        second = write(figure2.draw(cfg, samplers, bar.update), outdir / "figure2")
        gif = outdir / "trajectories.gif"
        animation.write_animation(gif, cfg, samplers, bar.update)
    for panel in shown:
        print(f"{panel.title.replace('$', '')}: {float(panel.outlier.double().mean()):.1%} outliers")
    for what, files in (("samples", first), ("densities and trajectories", second), ("trajectories", [gif])):
        print(f"{what}: {', '.join(map(str, files))}")
