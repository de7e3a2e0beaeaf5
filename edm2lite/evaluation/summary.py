"""A metric over blocks of images, for people and for files. Imports no torch."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from edm2lite.evaluation.score import Score


def summary(scores: Sequence[Score]) -> dict[str, Any]:
    """One metric over blocks, as plain data."""
    values = [score.value for score in scores]
    spread = {"min": min(values), "sd": statistics.stdev(values)} if len(values) > 1 else {}
    return {"mean": statistics.fmean(values), **spread, "scores": [asdict(score) for score in scores]}


def line(title: str, scores: Sequence[Score]) -> str:
    """One metric for people: its mean, the spread over blocks or the standard error within one, and N."""
    values, first = [score.value for score in scores], scores[0]
    text = f"{title} {statistics.fmean(values):.4f}"
    if len(values) > 1:
        text += f" +- {statistics.stdev(values):.4f} (sd over {len(values)} blocks; min {min(values):.4f})"
    if first.se is not None:
        text += f", standard error {statistics.fmean(s.se or 0 for s in scores):.4f}"
    if first.extrapolated is not None:
        text += f", for infinitely many images {statistics.fmean(s.extrapolated or 0 for s in scores):.4f}"
    return f"{text}; N = {first.num_images}"
