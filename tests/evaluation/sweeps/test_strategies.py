"""What grid, random and TPE screen."""

from dataclasses import replace

from edm2lite.config.sweeps import SweepPoint
from edm2lite.evaluation.sweeps.space import alone_space, guided_space, starts
from edm2lite.evaluation.sweeps.strategies import unscored
from tests.evaluation.sweeps.bowl import bowl, sweep_config


def follow(cfg, space, limit=1000):
    """Score what is asked for, one by one; returns it in this order."""
    ranks = {}
    while points := unscored(cfg, space, ranks, ()):
        assert len(ranks) < limit
        point = points[0]
        assert point not in ranks, "never twice"
        ranks[point] = bowl(point.main_ema, point.guide_ema, point.weight)
    return ranks


def test_a_grid_is_every_point_once_and_neighbours_share_models(tmp_path):
    cfg = sweep_config(tmp_path)
    points = list(follow(cfg, guided_space(cfg)))
    assert len(points) == len(set(points)) == 5 * 3 * 4
    assert [p.weight for p in points[:4]] == [1.5, 2.0, 2.5, 3.0] and len({p.main_ema for p in points[:12]}) == 1


def test_random_points_are_those_of_the_seed_and_a_larger_budget_adds_some(tmp_path):
    few, more, other = (
        sweep_config(tmp_path, search="random", trials=trials, seed=seed)
        for trials, seed in ((10, 0), (30, 0), (10, 1))
    )
    space = guided_space(few)
    first = list(follow(few, space))
    assert len(set(first)) == 10 and list(follow(more, space))[:10] == first
    assert set(follow(other, space)) != set(first)


def test_tpe_counts_every_point_once_spreads_over_workers_and_beats_chance(tmp_path):
    cfg = sweep_config(tmp_path, search="tpe", trials=30)
    space = guided_space(cfg)
    ranks = follow(cfg, space, limit=30)
    assert len(ranks) == 30 and ranks == follow(cfg, space), "the seed decides"
    best = min(ranks, key=ranks.get)
    assert bowl(best.main_ema, best.guide_ema, best.weight) < 3.1
    early, late = (sum(list(ranks.values())[i : i + 10]) for i in (0, 10))
    assert late < early, "it learns"
    some = dict(list(ranks.items())[:20])
    first, second = (unscored(cfg, space, some, (), worker)[-1] for worker in (0, 1))
    busy = unscored(cfg, space, some, [first])
    assert busy[0] == first and busy[1] not in {first, *some}, "what runs is not proposed again"
    assert unscored(cfg, space, dict(list(ranks.items())[:29]), [first]) == [first], "the budget holds while others run"
    assert second not in some


def test_tpe_can_take_a_whole_small_space(tmp_path):
    cfg = sweep_config(tmp_path, search="tpe", trials=4, main_ema=(0.1,), guide_ema=(0.1,))
    space = guided_space(cfg)
    assert set(follow(cfg, space)) == set(space.points)
    for seed in range(5):
        left = unscored(replace(cfg, seed=seed), space, {space.points[0]: 1.0}, space.points[1:3])
        assert left == space.points[1:], "those that run, and the only one that nobody has"


def test_the_main_alone_takes_all_its_ema_lengths_whatever_the_budget(tmp_path):
    for search, trials in (("grid", None), ("random", 3), ("tpe", 3)):
        cfg = sweep_config(tmp_path, search=search, trials=trials)
        assert [p.main_ema for p in follow(cfg, alone_space(cfg))] == [0.05, 0.075, 0.1, 0.15, 0.2]


def test_local_starts_in_the_middle_or_where_it_is_told_and_keeps_its_budget(tmp_path):
    cfg = sweep_config(tmp_path, search="local")
    space = guided_space(cfg)
    assert unscored(cfg, space, {}, ())[0] == SweepPoint(main_ema=0.1, guide_ema=0.15, weight=2.0)
    ranks = follow(cfg, space)
    assert min(ranks, key=ranks.get) == SweepPoint(main_ema=0.1, guide_ema=0.15, weight=2.0)
    point = SweepPoint(main_ema=0.2, guide_ema=0.1, weight=3.0)
    told = sweep_config(tmp_path, search="local", starts=(point,), trials=7)
    assert next(iter(follow(told, space))) == point and len(follow(told, space)) == 7
    assert starts(told, alone_space(told)) == [(4, 0, 0, 0)]
