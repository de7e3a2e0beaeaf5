"""Claims are judged by intervals of paired differences, at weights that do not flatter themselves."""

from dataclasses import asdict

import numpy as np
import pytest

from edm2lite.config.claims import ClaimConfig, ComparisonConfig
from edm2lite.config.units import plain
from edm2lite.errors import UserError
from edm2lite.evaluation.claims import Evidence, judge


def evidence(lower=True, **rows):
    """Rows as {weight: values} of the metric fd, or {metric: {weight: values}}."""
    by_metric = {name: found if "fd" in found else {"fd": found} for name, found in rows.items()}
    return Evidence(lambda row, metric: list(by_metric[row][metric].items()), "fd", lower)


def claim(relation, row="a", than="b", **options):
    return ClaimConfig(says="It is so.", checks=(ComparisonConfig(row=row, relation=relation, than=than, **options),))


# differences -1.0, -1.1, -0.9: mean -1, se 0.1 / sqrt 3, t(2) = 4.303, so -1.248 to -0.752
A, B = {1.0: (1.0, 1.1, 1.2)}, {1.0: (2.0, 2.2, 2.1)}


@pytest.mark.parametrize(
    ("relation", "margin", "holds"),
    [
        ("lower", 0.0, True), ("lower", 0.7, True), ("lower", 1.0, None), ("lower", 1.3, False), ("lower", -0.5, True),
        ("higher", 0.0, False), ("higher", -1.0, None), ("higher", -1.3, True),
        ("same", 1.3, True), ("same", 1.0, None), ("same", 0.7, False),
    ],
)  # fmt: skip
def test_the_whole_interval_must_lie_on_one_side(relation, margin, holds):
    """Mirrored, the relation is the opposite; negated, too."""
    assert judge(claim(relation, margin=margin), evidence(a=A, b=B)).holds is holds
    opposite = {"lower": "higher", "higher": "lower", "same": "same"}[relation]
    assert judge(claim(opposite, margin=margin, row="b", than="a"), evidence(a=A, b=B)).holds is holds
    negated = {name: {1.0: [-v for v in row[1.0]]} for name, row in (("a", A), ("b", B))}
    assert judge(claim(opposite, margin=margin), evidence(**negated)).holds is holds


def test_the_numbers_are_those_of_students_interval():
    verdict = judge(claim("lower", margin=0.7), evidence(a=A, b=B))
    half = 4.303 * 0.1 / np.sqrt(3)
    assert str(verdict) == (
        "TRUE: It is so.\n  fd: a (w = 1) 1.1, b (w = 1) 2.1; difference -1, 95 % interval "
        f"{-1 - half:+.4g} to {-1 + half:+.4g}; claimed lower by more than 0.7: true"
    )


def test_equal_rows_are_the_same_and_neither_is_lower():
    equal = evidence(a=A, b=A)
    assert [judge(claim(r, margin=m), equal).holds for r, m in (("same", 0.1), ("lower", 0), ("higher", 0))] == [
        True, False, False,
    ]  # fmt: skip


def test_all_comparisons_must_hold():
    true, open_, false = (claim("lower", margin=margin).checks[0] for margin in (0.0, 1.0, 1.3))
    for checks, word in (((true, true), "TRUE"), ((true, open_), "OPEN"), ((open_, false, true), "FALSE")):
        verdict = judge(ClaimConfig(says="x", checks=checks), evidence(a=A, b=B))
        assert verdict.word == word and len(verdict.reasons) == len(checks)


def test_the_best_weight_is_chosen_on_the_other_blocks():
    """Each block's own winner is the other weight: without cross-fitting the row would score 0."""
    row = {1.0: (0.0, 4.0, 0.0, 4.0), 2.0: (4.0, 0.0, 4.0, 0.0)}
    reason = judge(claim("lower"), evidence(a=row, b={1.0: (9.0, 9.0, 9.0, 9.1)})).reasons[0]
    assert "a (w = 1, 2) 4," in reason


def test_choosing_among_equal_weights_has_no_bias():
    """The best of four means of three blocks lies 0.59 below what it is, on average; cross-fitted it does not."""
    noise = np.random.RandomState(0).randn(400, 4, 3)
    assert noise.mean(2).min(1).mean() == pytest.approx(-1.029 / 3**0.5, abs=0.05)
    means = []
    for values in noise.tolist():
        known = evidence(a={float(i): row for i, row in enumerate(values)}, b={1.0: (0.0, 0.0, 0.0)})
        reason = judge(claim("lower"), known).reasons[0]
        means.append(float(reason.split("difference ")[1].split(",")[0]))
    assert abs(np.mean(means)) < 0.1


@pytest.mark.parametrize(("lower", "mean"), [(True, "2.5"), (False, "7")])
def test_the_first_metric_chooses_for_the_others(lower, mean):
    row = {"fd": {1.5: (1.0, 1.1), 2.0: (3.0, 3.1)}, "leak": {1.5: (2.0, 3.0), 2.0: (6.0, 8.0)}}
    other = {"fd": {1.0: (2.0, 2.0)}, "leak": {1.0: (0.0, 0.0)}}
    assert f"leak: a (w = {1.5 if lower else 2}) {mean}," in judge(
        claim("lower", metric="leak"), evidence(lower, a=row, b=other)
    ).reasons[0]  # fmt: skip


def test_weights_can_be_named_and_compared():
    weak = {1.1: (1.0, 1.1, 1.2), 2.0: (5.0, 5.1, 5.2)}
    strong = {1.1: (4.0, 4.1, 4.2), 2.0: (1.0, 1.1, 1.2)}
    known = evidence(a=weak, b=strong)
    assert judge(claim("lower", at=2.0), known).holds is False and judge(claim("lower", than_at=1.1), known).holds
    assert judge(claim("higher", row="a", than="a", at=2.0, than_at=1.1), known).holds
    best = judge(claim("lower", metric="weight"), known)
    assert best.holds and "weight: best weight of a 1.1, best weight of b 2;" in best.reasons[0]
    with pytest.raises(KeyError, match="3"):
        judge(claim("lower", at=3.0), known)


def test_of_a_single_block_nothing_follows():
    verdict = judge(claim("lower"), evidence(a={1.5: (1.0,), 2.0: (0.5,)}, b={1.0: (3.0,)}))
    assert verdict.word == "OPEN" and "a (w = 2) 0.5, b (w = 1) 3; nothing follows" in verdict.reasons[0]


def test_best_weights_are_those_of_each_block_alone():
    changing = {1.0: (0.0, 4.0, 4.0), 2.0: (4.0, 0.0, 0.0)}  # on all blocks 2 is best, on the first one 1
    reason = judge(claim("lower", metric="weight"), evidence(a=changing, b=B)).reasons[0]
    assert "best weight of a 1.667, best weight of b 1;" in reason


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"relation": "less"}, "unknown relation .* lower, higher, same"),
        ({"relation": "same"}, "margin .* is 0.0; it must be .* above 0 for relation same"),
        ({"relation": "lower", "margin": float("nan")}, "margin .* is nan"),
        ({"relation": "lower", "than": "a"}, "row 'a' is compared with itself; name another"),
        ({"relation": "lower", "than": "a", "at": 2.0, "than_at": 2.0}, "compared with itself"),
        ({"relation": "lower", "metric": "weight", "at": 2.0}, "leave one of the two out"),
    ],
)
def test_impossible_comparisons_are_refused(options, match):
    with pytest.raises(UserError, match=match):
        claim(**{"row": "a", "than": "b"} | options)


def test_claims_need_a_sentence_and_a_comparison():
    for bad, match in (({"says": " \n"}, "one line of text"), ({"checks": ()}, "at least one comparison")):
        with pytest.raises(UserError, match=match):
            ClaimConfig(**{"says": "x", "checks": claim("lower").checks} | bad)


def test_claims_survive_as_plain_data():
    whole = claim("same", margin=0.1, at=2.0, metric="fd")
    assert ClaimConfig.from_plain(plain(asdict(whole))) == whole
