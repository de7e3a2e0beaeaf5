"""Local search on a grid, as a function of the scores that are known: any number of workers can follow it. Imports no torch.

The autoguidance paper searches EMA lengths, weight and training length of the guide "by local search" and says no more. The
rule here: begin at a start with steps of an eighth of each axis (a power of two). Look at the neighbours one step up and one
step down along each axis. If the best of them is better, go there; if none is, halve all steps; if none is and all steps are
1, stop. What is known of a place is taken as it is, so that the way depends on the scores alone, not on who found them when.
"""

from collections.abc import Mapping, Sequence

from edm2lite.evaluation.sweeps.space import Place


def wanted(shape: Place, starts: Sequence[Place], ranks: Mapping[Place, float]) -> list[Place]:
    """The places to score next, for all starts at once; empty: every search has stopped.

    Args:
        shape: Number of values on each axis.
        starts: Where searches begin.
        ranks: Scores so far, lower is better.
    """
    return list(dict.fromkeys(place for start in starts for place in _wanted(shape, start, ranks)))


def _wanted(shape: Place, start: Place, ranks: Mapping[Place, float]) -> list[Place]:
    here, steps = start, first_steps(shape)
    while True:
        around = [here, *neighbours(here, steps, shape)]
        if lacking := [place for place in around if place not in ranks]:
            return lacking
        best = min(around, key=lambda place: ranks[place])  # the first of equals: stay rather than go in circles
        if best != here:
            here = best
        elif all(step == 1 for step in steps):
            return []
        else:
            steps = tuple(max(step // 2, 1) for step in steps)


def first_steps(shape: Place) -> Place:
    """An eighth of each axis, rounded down to a power of two, at least 1."""
    return tuple(2 ** max((n - 1) // 8, 1).bit_length() // 2 for n in shape)


def neighbours(here: Place, steps: Place, shape: Place) -> list[Place]:
    """The places one step up or down along each axis, cut off at its ends, each once."""
    found = []
    for axis, step in enumerate(steps):
        for moved in (max(here[axis] - step, 0), min(here[axis] + step, shape[axis] - 1)):
            found.append((*here[:axis], moved, *here[axis + 1 :]))
    return [place for place in dict.fromkeys(found) if place != here]
