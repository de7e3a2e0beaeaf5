"""The local search finds the bottom of bowls, halves its steps, stops, and does not care who found what when."""

import itertools
import random

import pytest

from edm2lite.evaluation.sweeps.local import first_steps, neighbours, wanted


def bowl(center, place, tilt=0.3):
    offsets = [a - b for a, b in zip(place, center, strict=True)]
    return sum(x * x for x in offsets) + tilt * offsets[0] * offsets[1]


def search(shape, starts, score, take=lambda places: places):
    """Follow it to its end; returns what was scored."""
    known = {}
    while places := wanted(shape, starts, known):
        assert not set(places) & set(known), "nothing is asked for twice"
        known |= {place: score(place) for place in take(places)}
    return known


@pytest.mark.parametrize("center", [(0, 0, 0), (25, 40, 3), (50, 11, 0)])
def test_it_finds_the_bottom_of_a_convex_bowl_and_looks_at_little(center):
    shape = (51, 49, 4)
    known = search(shape, [(25, 24, 1)], lambda place: bowl(center, place))
    assert min(known, key=known.get) == center
    assert len(known) < 150 < 51 * 49 * 4
    around = neighbours(center, (1, 1, 1), shape)
    assert set(around) <= set(known), "it stopped only when no neighbour in the finest steps was better"


def test_the_way_is_the_same_whoever_scores_first_and_noise_cannot_make_it_circle():
    noise = {place: random.Random(str(place)).gauss(0, 20) for place in itertools.product(range(20), range(20))}
    score = lambda place: bowl((13, 4), place) + noise[place]  # noqa: E731
    together = search((20, 20), [(9, 9)], score)
    one_by_one = search((20, 20), [(9, 9)], score, take=lambda places: places[-1:])
    assert together == one_by_one


def test_several_starts_meet_in_different_valleys():
    shape, valleys = (30, 30), ((4, 5), (25, 26))
    known = search(shape, [(2, 9), (27, 22)], lambda place: min(bowl(v, place, 0) for v in valleys))
    assert all(known[v] == 0 for v in valleys)
    assert known.keys() > search(shape, [(2, 9)], lambda place: min(bowl(v, place, 0) for v in valleys)).keys()


def test_plateaus_end_it():
    assert len(search((9, 9), [(4, 4)], lambda place: 1.0)) == 5
    assert search((1, 1), [(0, 0)], lambda place: 1.0) == {(0, 0): 1.0}


def test_steps_and_neighbours():
    assert first_steps((51, 49, 9, 8, 2, 1)) == (4, 4, 1, 1, 1, 1)
    assert neighbours((0, 5), (4, 2), (3, 7)) == [(2, 5), (0, 3), (0, 6)], "cut off at the ends"
