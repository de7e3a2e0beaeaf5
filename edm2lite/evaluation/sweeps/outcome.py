"""What a sweep found: table, list of trials, plots, and the winner's score on fresh seeds beside that of the search."""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from edm2lite.config import Nimg, parse_metric
from edm2lite.config.sweeps import ALONE, SWEEP, SweepConfig, SweepPoint
from edm2lite.evaluation.metrics.uncertainty import statistically_tied
from edm2lite.evaluation.report.heatmap import EMAS, NIMG_WEIGHT, caption, make_map, map_figure
from edm2lite.evaluation.sweeps.journal import Journal, point_of
from edm2lite.evaluation.sweeps.plan import Stage, finalists, fresh, rows, rungs
from edm2lite.evaluation.sweeps.plots import history_figure, weight_figure
from edm2lite.evaluation.sweeps.search import Scores
from edm2lite.evaluation.sweeps.together import WRITTEN
from edm2lite.evaluation.tables.figures import write_figure
from edm2lite.evaluation.tables.formats import write_table
from edm2lite.evaluation.tables.result import Result, number
from edm2lite.evaluation.tables.results import Table, save_table
from edm2lite.files import digest, write_text
from edm2lite.snapshots.once import one_at_a_time

SUMMARY, TRIALS, SCREENING = "sweep.md", "sweep.csv", "screening"
_COLUMNS = ("row", "images", "blocks", "first_seed", "main_ema", "guide_ema", "guide_nimg", "weight", "metric", "score",
            "se", "state", "worker", "seconds", "note")  # fmt: skip


def conclude(cfg: SweepConfig, scorer: Scores, journal: Journal, again: bool = True) -> None:
    """Write and print the outcome of a finished sweep; the same for every worker that does it.

    Args:
        cfg, scorer, journal: The sweep.
        again: Also if another worker did already.
    """
    outdir = Path(cfg.outdir)
    table = outcome_table(cfg, scorer, journal)
    metric, mark = table.first, outdir / WRITTEN
    now = digest([r.mean(metric) for r in (*table.results, *table.confirmed.values())])
    with one_at_a_time(outdir / ".outcome.lock", "it writes the outcome of the sweep"):
        if not again and mark.exists() and mark.read_text() == now:
            return
        lines = summary(cfg, journal, table)
        write_text(outdir / TRIALS, trials_csv(cfg, journal, metric))
        write_text(outdir / SUMMARY, f"# {cfg.title}\n\n" + "".join(f"- {line}\n" for line in lines))
        write_plots(cfg, journal, table)
        save_table(outdir / SCREENING, screening_table(cfg, scorer, journal))
        write_table(outdir, table)
        print("\n".join(lines))
        write_text(mark, now)


def outcome_table(cfg: SweepConfig, scorer: Scores, journal: Journal) -> Table:
    """The finalists of each row at full size, the best first; and the winners on fresh seeds, if both rows have one."""
    found, confirmed = [], {}
    for row in rows(cfg):
        results = journal.results(rungs(cfg, row)[-1])
        points = list(finalists(cfg, row, journal.look))
        found += [results[point] for point in points]
        if cfg.confirm:
            confirmed[row == SWEEP] = journal.results(fresh(cfg, row))[points[0]]
    table = scorer.table(found)
    if len(confirmed) == 2:
        table.confirmed.update(confirmed)
    return table


def screening_table(cfg: SweepConfig, scorer: Scores, journal: Journal) -> Table:
    """All points with the images of the first rung, which `read_table` reads: what maps and curves of a report show."""
    stages = [rungs(cfg, row)[0] for row in rows(cfg)]
    table = scorer.table([r for stage in stages for r in journal.results(stage).values()])
    size = {"title": f"{cfg.title}: screening", "num_images": stages[0].images, "blocks": stages[0].blocks}
    return replace(table, config=table.config | size)


def summary(cfg: SweepConfig, journal: Journal, table: Table) -> list[str]:
    """The outcome in lines of text."""
    lines = [_effort(cfg, journal)]
    for row in reversed(rows(cfg)):
        lines += _about_row(cfg, journal, row, table)
    return lines


def _effort(cfg: SweepConfig, journal: Journal) -> str:
    counts = [(len(journal.look(stage).ranks), stage.count) for stage in rungs(cfg, SWEEP)]
    stages = ", ".join(f"{points} points with {count} images" for points, count in counts)
    return (
        f"search {cfg.search}: {stages}. Scores of different numbers of images are not comparable (a Frechet distance of "
        "fewer is larger), so only those of one stage are compared."
    )


def _about_row(cfg: SweepConfig, journal: Journal, row: str, table: Table) -> list[str]:
    """The winner of a row: its score in the search and on fresh seeds; and who is as good."""
    metric, stage = table.first, rungs(cfg, row)[-1]
    best, *others = [r for r in table.results if r.row == row]
    title, lower = parse_metric(metric).title, parse_metric(metric).lower_is_better
    text = f"{describe(cfg, best)}: search score {title} {_score(best, metric)} (N = {stage.count})"
    if cfg.confirm:
        winner = next(iter(finalists(cfg, row, journal.look)))
        again = journal.results(fresh(cfg, row))[winner]
        gap = again.mean(metric) - best.mean(metric)
        word = "the search flattered it" if (gap > 0) == lower else "no better in the search"
        text += f", fresh seeds {_score(again, metric)} (N = {stage.count}), gap {number(metric, gap, '+')}: {word}"
    tied = [r for r in others if statistically_tied(best.blocks(metric), r.blocks(metric))]
    named = "; ".join(f"{describe(cfg, r).removeprefix(f'{row}, ')} {_score(r, metric)}" for r in tied) or "none"
    lines = [text]
    if others:
        lines.append(f"{row}: not to be told from it (95 %, block by block on common seeds), of {len(others)}: {named}")
    return lines


def describe(cfg: SweepConfig, r: Result) -> str:
    """A setting for people, with the guide's training length if that is searched, too."""
    searched = len(cfg.guide_nimg) > 1 and r.guide_nimg is not None
    return r.setting + (f", guide at {Nimg(r.guide_nimg)}" if searched else "")  # type: ignore[arg-type]


def _score(r: Result, metric: str) -> str:
    spread = r.spread(metric)
    return number(metric, r.mean(metric)) + ("" if spread is None else f" +- {number(metric, spread)}")


def trials_csv(cfg: SweepConfig, journal: Journal, metric: str) -> str:
    """Everything that was ever tried."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows(cfg):
        for stage in (*rungs(cfg, row), fresh(cfg, row)):
            found = journal.results(stage)
            writer.writerows(_trial(stage, trial, found, metric) for trial in journal.trials(stage))
    return text.getvalue()


def _trial(stage: Stage, trial: FrozenTrial, found: dict[SweepPoint, Result], metric: str) -> dict[str, Any]:
    point, scored = point_of(trial), trial.state == TrialState.COMPLETE
    took = trial.duration
    return {
        "row": stage.row, "images": stage.images, "blocks": stage.blocks, "first_seed": stage.first_seed, **vars(point),
        "metric": metric, "score": trial.values[0] if scored else None, "se": found[point].se(metric) if scored else None,
        "state": trial.state.name.lower(), "worker": trial.user_attrs["worker"],
        "seconds": None if took is None else f"{took.total_seconds():.1f}", "note": trial.user_attrs.get("why"),
    }  # fmt: skip


def write_plots(cfg: SweepConfig, journal: Journal, table: Table) -> None:
    """Heat maps, curves over the weight and the history, as SVG and PNG, of the screening: there all points are."""
    outdir, metric, stage = Path(cfg.outdir), table.first, rungs(cfg, SWEEP)[0]
    screened = list(journal.results(stage).values())
    alone = list(journal.results(rungs(cfg, ALONE)[0]).values()) if cfg.alone else []
    winner = next(r for r in table.results if r.row == SWEEP)
    for name, sides in (("heatmap-ema", EMAS), ("heatmap-nimg", NIMG_WEIGHT)):
        drawn = make_map(screened, metric, sides, winner)
        if drawn is not None:
            write_figure(map_figure(drawn, title=caption(drawn)), outdir / name)
    if (figure := weight_figure(screened, alone, metric, stage.count)) is not None:
        write_figure(figure, outdir / "weights")
    write_figure(history_figure(finished_values(journal.trials(stage)), metric, stage.count), outdir / "history")


def finished_values(trials: Sequence[FrozenTrial]) -> list[float]:
    """Scores in the order in which they came."""
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return [trial.values[0] for trial in sorted(done, key=lambda t: (t.datetime_complete, t.number))]
