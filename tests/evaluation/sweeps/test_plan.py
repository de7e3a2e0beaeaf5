"""Screening, promotion, finalists, confirmation: what is done when."""

import pytest

from edm2lite.config.sweeps import ALONE, SWEEP, SweepPoint
from edm2lite.evaluation.sweeps.plan import (
    Held,
    expected_images,
    finalists,
    fresh,
    number_promoted,
    promoted,
    rungs,
    unfinished,
)
from tests.evaluation.sweeps.bowl import sweep_config


def rank(point, stage):
    """Better with weight, but for the number of images, which shifts all alike and turns the order of the best two."""
    flipped = stage.images == 1600 and point.weight == 3.0
    return 1000 / stage.images - point.weight + (2 if flipped else 0) + abs(point.main_ema - 0.1)


def finish(cfg):
    """Do all that is planned; returns the scores of each stage and the order of the stages."""
    scores, order = {}, []
    look = lambda stage: Held(scores.get(stage, {}))  # noqa: E731
    while tasks := unfinished(cfg, look):
        stage = tasks[0].stage
        order.append(stage)
        for task in tasks:
            if task.stage == stage:
                scores.setdefault(stage, {})[task.point] = rank(task.point, stage)
    return scores, order, look


def test_the_best_of_each_rung_go_on_and_the_winner_is_the_best_at_full_size(tmp_path):
    cfg = sweep_config(tmp_path, weights=(1.5, 2.0, 2.5, 3.0), alone=False)
    scores, order, look = finish(cfg)
    first, second, last = rungs(cfg, SWEEP)
    assert order == [first, second, last, fresh(cfg, SWEEP)]
    assert [len(scores[s]) for s in order] == [60, 15, 4, 1]
    worst = max(scores[first][p] for p in scores[second])
    assert all(scores[first][p] >= worst for p in scores[first].keys() - scores[second].keys())
    best = next(iter(finalists(cfg, SWEEP, look)))
    assert set(scores[order[-1]]) == {best} and scores[last][best] == min(scores[last].values())


def test_a_rung_begins_only_when_the_one_before_is_complete(tmp_path):
    cfg = sweep_config(tmp_path, alone=False)
    first, second, _ = rungs(cfg, SWEEP)
    points = [task.point for task in unfinished(cfg, lambda stage: Held())]
    known = {p: float(i) for i, p in enumerate(points)}
    without_last = {p: known[p] for p in points[:-1]}
    held = {first: Held(without_last, [points[-1]])}
    assert [t.point for t in unfinished(cfg, lambda s: held.get(s, Held()))] == points[-1:], "still being scored"
    held = {first: Held(known)}
    tasks = unfinished(cfg, lambda s: held.get(s, Held()))
    assert {t.stage for t in tasks} == {second} and [t.point for t in tasks] == points[:15]


def test_rows_do_not_wait_for_each_other(tmp_path):
    cfg = sweep_config(tmp_path)
    tasks = unfinished(cfg, lambda stage: Held())
    assert {t.stage.row for t in tasks} == {ALONE, SWEEP} and len(tasks) == 5 + 60
    scores, _, look = finish(cfg)
    assert next(iter(finalists(cfg, ALONE, look))).main_ema == 0.1
    images = sum(len(ranks) * stage.size for stage, ranks in scores.items())
    assert expected_images(cfg, look, []) == images
    nothing = lambda stage: Held()  # noqa: E731
    assert expected_images(cfg, nothing, unfinished(cfg, nothing)) == images, "a grid knows before what it will take"


def test_promotion(tmp_path):
    cfg = sweep_config(tmp_path, promote=0.25, finalists=3)
    assert [number_promoted(cfg, n) for n in (1, 3, 12, 13, 60, 100)] == [1, 3, 3, 4, 15, 25]
    points = [SweepPoint(weight=float(w)) for w in range(4)]
    ranks = dict(zip(points, (3.0, 1.0, 2.0, 4.0), strict=True))
    assert promoted(cfg, ranks) == [points[1], points[2], points[0]]


@pytest.mark.parametrize("confirm_seed", [None, 100_000])
def test_the_seeds_that_confirm_are_none_of_the_search(tmp_path, confirm_seed):
    cfg = sweep_config(tmp_path, first_seed=50, confirm_seed=confirm_seed)
    seeds = lambda stage: set(range(stage.first_seed, stage.first_seed + stage.size))  # noqa: E731
    searched = set().union(*(seeds(stage) for stage in rungs(cfg, SWEEP)))
    assert not seeds(fresh(cfg, SWEEP)) & searched and len(seeds(fresh(cfg, SWEEP))) == 3 * 1600
    assert seeds(rungs(cfg, SWEEP)[0]) < seeds(rungs(cfg, SWEEP)[1]) < searched, "nested, so features are used again"
    assert fresh(cfg, SWEEP).first_seed == fresh(cfg, ALONE).first_seed


def test_without_confirmation_the_search_is_all(tmp_path):
    cfg = sweep_config(tmp_path, confirm=False, alone=False, rungs=(1600,))
    _, order, _ = finish(cfg)
    assert order == list(rungs(cfg, SWEEP))
