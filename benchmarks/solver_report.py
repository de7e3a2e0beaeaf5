"""Tables and figures of benchmarks/solvers.py."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from edm2lite.evaluation.metrics.uncertainty import paired_difference, student
from edm2lite.evaluation.report.drawing import COLORS
from edm2lite.evaluation.tables.figures import panels, write_figure

BASELINE = ("heun", 63)  # solver, evaluations
NAME = "heun at 63"
TITLES = {"fd": "Frechet distance", "energy": "energy distance", "kl": "KL(points, truth)"}
DIGITS = {"fd": 4, "energy": 5, "kl": 3}  # after the point
SHOWN = {"fd": 0.001, "energy": 0.002, "kl": 0.5}  # least height of a panel above heun at 63, divided by 1.5
MARKERS = "osv^DPX*<>"


def write_table(everything: dict[str, Any]) -> str:
    """Markdown: for each model the errors, and each metric with its paired difference from Heun with 63 evaluations."""
    setting = everything["setting"]
    lines = [
        "# Solvers: quality over network evaluations (NFE)\n",
        f"`OMP_NUM_THREADS=1 python benchmarks/solvers.py`, x86 CPU, torch {setting['torch']}. Errors: rms an element",
        f"against Heun with {setting['reference_steps']} steps, float64 state, networks in float32. heun and dpmpp_2s",
        "make 2N - 1 evaluations: 7, 11, 15, 23, 31, 47, 63, 95. Distances: mean over the blocks of seeds, and in brackets",
        f"the mean difference from {NAME} on the same seeds +- half its 95 % interval",
        f"(Student's t over {setting['blocks']} blocks); bold: worse by more than that.\n",
    ]  # fmt: skip
    for name, found in everything["results"].items():
        size = everything["sizes"][name]
        lines += [
            f"\n## {found['title']} (`{name}`)\n",
            f"Error, {size['error_seeds']} samples of rms {found['rms']:.3f}:\n",
        ]
        lines += _errors(found, 7.0)
        lines += ["\nOther spacings of the levels (`rho`):\n", *_rhos(found)]
        for metric in (m for m in TITLES if m in found["converged"]):
            lines += [
                f"\n{TITLES[metric]}, {setting['blocks']} blocks of {size['block']}:\n",
                *_distances(found, metric),
            ]
    return "\n".join(lines) + "\n"


def _errors(found: dict[str, Any], rho: float) -> list[str]:
    rows = {s: [r for r in runs if r["rho"] == rho] for s, runs in found["errors"].items()}
    return _rows(
        [r["nfe"] for r in rows["euler"]], {s: [f"{r['error']:.1e}" for r in runs] for s, runs in rows.items()}
    )


def _rhos(found: dict[str, Any]) -> list[str]:
    rows: dict[str, list[str]] = {}
    nfes: list[int] = []
    for solver, runs in found["errors"].items():
        scanned = sorted({r["rho"] for r in runs})
        nfes = nfes or sorted(r["nfe"] + 1 for r in runs if r["rho"] == scanned[0])
        for rho in scanned if len(scanned) > 1 else ():
            own = [r for r in runs if r["rho"] == rho and min(abs(r["nfe"] - nfe) for nfe in nfes) <= 1]
            rows[f"{solver}, rho {rho:g}"] = [f"{r['error']:.1e}" for r in own]
    return _rows(nfes, rows)


def _distances(found: dict[str, Any], metric: str) -> list[str]:
    base = found["baseline"][metric]
    rows = {s: [_cell(base, run[metric], DIGITS[metric]) for run in runs] for s, runs in found["distances"].items()}
    spread, exact = stdev(base), found["converged"]
    return [
        *_rows([run["nfe"] for run in found["distances"]["euler"]], rows),
        f"\n{NAME}: {mean(base):.{DIGITS[metric]}f}, standard deviation over the blocks {spread:.{DIGITS[metric]}f}. The ODE's",
        f"own solution (deis, {exact['nfe']} evaluations): {_cell(base, exact[metric], DIGITS[metric])}.",
    ]  # fmt: skip


def _cell(base: Sequence[float], values: Sequence[float], digits: int) -> str:
    """Mean, and difference with its interval; bold if worse."""
    gap = paired_difference(base, values)
    half = student(gap.degrees) * gap.se
    text = f"{mean(values):.{digits}f} ({gap.mean:+.{digits}f} +- {half:.{digits}f})"
    return f"**{text}**" if gap.mean > half else text


def _rows(nfes: Sequence[int], rows: dict[str, list[str]]) -> list[str]:
    head = ["| | " + " | ".join(map(str, nfes)) + " |", "|---|" + "--:|" * len(nfes)]
    return head + [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]


def write_figures(everything: dict[str, Any], folder: Path) -> None:
    """solvers-NAME.png for each model: the error over NFE, and each metric with the error of its difference."""
    for name, found in everything["results"].items():
        metrics = [m for m in TITLES if m in found["converged"]]
        rows = 1 if len(metrics) == 1 else 2
        figure, (first, *others) = panels(rows, (1 + len(metrics)) // rows, (4.6, 3.4))
        _draw_errors(first, found)
        for axes, metric in zip(others, metrics, strict=True):
            _draw_distances(axes, found, metric)
        for axes in (first, *others):
            _over_nfe(axes)
        figure.suptitle(found["title"], fontsize=11)
        handles, labels = _legend([first, *others])
        figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
        write_figure(figure, folder / f"solvers-{name}", ("png",))


def _look(solver: str, found: dict[str, Any]) -> dict[str, Any]:
    """Colour and marker of a solver, the same in all panels; what is not in the package is dotted."""
    names = list(dict.fromkeys([*found["distances"], *found["errors"]]))
    i = names.index(solver)
    inside = solver in found["distances"]
    return {
        "color": COLORS[i % len(COLORS)], "marker": MARKERS[i], "ms": 4, "lw": 1.3 if inside else 0.9,
        "ls": "-" if inside else ":", "label": solver if inside else f"{solver} (not kept)",
    }  # fmt: skip


def _draw_errors(axes: Any, found: dict[str, Any]) -> None:
    for solver, runs in found["errors"].items():
        own = [r for r in runs if r["rho"] == 7]
        axes.plot([r["nfe"] for r in own], [r["error"] for r in own], **_look(solver, found))
    solver, nfe = BASELINE
    (mark,) = (r for r in found["errors"][solver] if r["rho"] == 7 and r["nfe"] == nfe)
    axes.axhline(mark["error"], color="0.4", lw=1, ls="--", label=NAME)
    axes.set_yscale("log")
    axes.set_title("rms error against Heun with 4000 steps", fontsize=9)


def _draw_distances(axes: Any, found: dict[str, Any], metric: str) -> None:
    base = found["baseline"][metric]
    axes.axhline(mean(base), color="0.4", lw=1, ls="--")
    axes.plot(BASELINE[1], mean(base), "*", color="0.2", ms=10)
    axes.axhline(mean(found["converged"][metric]), color="0.4", lw=1, ls=":", label="the ODE's own solution")
    for solver, runs in found["distances"].items():
        gaps = [paired_difference(base, run[metric]) for run in runs]
        means = [mean(run[metric]) for run in runs]
        axes.errorbar([run["nfe"] for run in runs], means, [g.se for g in gaps], capsize=2, **_look(solver, found))
    height = 1.5 * max(abs(mean(base)), SHOWN[metric])
    lowest = min(mean(run[metric]) for runs in found["distances"].values() for run in runs)
    axes.set_ylim(lowest - height / 10, mean(base) + height)
    axes.set_title(f"{TITLES[metric]} (bars: s.e. of the difference;\nworse ones lie above the picture)", fontsize=9)


def _over_nfe(axes: Any) -> None:
    axes.set_xscale("log")
    axes.set_xticks([8, 12, 16, 24, 32, 48, 63, 96], minor=False)
    axes.set_xticks([], minor=True)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("network evaluations (NFE)")
    axes.tick_params(labelsize=8)


def _legend(found: Sequence[Any]) -> tuple[list[Any], list[str]]:
    """Each solver once."""
    named: dict[str, Any] = {}
    for axes in found:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    return list(named.values()), list(named)
