"""A scorer of known truth: a convex bowl over the settings, with a bias that falls with N and noise that common seeds share.

Run as a module it is one worker of a sweep: python -m tests.evaluation.sweeps.bowl FOLDER '{"hang": 8}' gets stuck in its
eighth point, and says so by a file.
"""

import json
import math
import os
import random
import sys
import time
from dataclasses import asdict
from pathlib import Path

from edm2lite.config import ModelRef, parse_metric, plain
from edm2lite.config.sweeps import SweepConfig
from edm2lite.evaluation.metrics.uncertainty import GROUPS, jackknife_se
from edm2lite.evaluation.score import Score
from edm2lite.evaluation.tables.result import Result
from edm2lite.evaluation.tables.results import Table

BEST = (0.1, 0.15, 2.0)  # EMA of the main, EMA of the guide, weight


def bowl(main_ema, guide_ema, weight):
    """3 at the best setting; 5 and more without guidance."""
    if guide_ema is None:
        return 5 + 20 * abs(main_ema - BEST[0])
    a, b, c = (main_ema - BEST[0]) / 0.05, (guide_ema - BEST[1]) / 0.05, (weight - BEST[2]) / 0.5
    return 3 + 0.3 * a * a + 0.2 * b * b + 0.25 * c * c + 0.1 * a * b


class BowlScorer:
    """Scores settings without images.

    Args:
        cfg: The sweep.
        noise: Standard deviation at one image, of what settings share on common seeds and, a tenth of it, of what they do not.
        seconds: To wait over each point.
        sign: -1: higher is better.
    """

    def __init__(self, cfg, noise=3.0, seconds=0.0, metric="fd", sign=1):
        self.cfg, self.noise, self.seconds, self.metric, self.sign = cfg.table(), noise, seconds, metric, sign
        self.scored = []

    def score(self, cell, first_seed, bar=None, blocks=None, num_images=None):
        time.sleep(self.seconds)
        guide_ema = cell.guides[0].ema if cell.guides else None
        self.scored.append((cell.main.ema, guide_ema, cell.weight, first_seed, blocks, num_images))
        truth = bowl(cell.main.ema, guide_ema, cell.weight)
        starts = [first_seed + i * num_images for i in range(blocks)]
        scores = tuple(self._block(truth, (cell.main.ema, guide_ema, cell.weight), s, num_images) for s in starts)
        if bar is not None:
            bar.update(blocks * num_images)
        return Result(
            row=cell.row.name, main_ema=cell.main.ema, guide_ema=guide_ema, guide_nimg=None, weight=cell.weight,
            scores={self.metric: scores}, first_seed=first_seed,
        )  # fmt: skip

    def _block(self, truth, setting, start, count):
        shared, own = random.Random(f"{start} {count}"), random.Random(f"{setting} {start} {count}")
        size = self.noise / math.sqrt(count)
        value = truth + 100 / count + shared.gauss(0, size) + own.gauss(0, 0.1 * size)
        groups = [value + own.gauss(0, 0.03 * size) for _ in range(GROUPS)]
        return Score(
            value=self.sign * value, num_images=count, se=jackknife_se(groups), details={"class 1": 1.0},
            leave_one_out=tuple(self.sign * g for g in groups),
        )  # fmt: skip

    def table(self, results):
        name = parse_metric(self.metric).name
        protocol = {name: {"metric": name, "detector": {"detector": "a bowl"}, "reference": "-"}}
        return Table(results, {}, plain(asdict(self.cfg)), (name,), protocol, {"file": "-", "num_images": 100})


def sweep_config(folder, **changes):
    """A sweep of 5 x 3 x 4 points over two run directories in a folder."""
    for name in ("main", "small"):
        (folder / name / "snapshots").mkdir(parents=True, exist_ok=True)
        (folder / name / "snapshots" / "64-ema0.1.safetensors").write_text(name)
    defaults = {
        "title": "Bowl", "outdir": str(folder / "out"), "main": ModelRef(path=str(folder / "main")),
        "guide": ModelRef(path=str(folder / "small")), "main_ema": (0.05, 0.075, 0.1, 0.15, 0.2),
        "guide_ema": (0.1, 0.15, 0.2), "weights": (1.5, 2.0, 2.5, 3.0), "rungs": (100, 400, 1600), "device": "cpu",
    }  # fmt: skip
    return SweepConfig(**defaults | changes)


class Hanging(BowlScorer):
    """Gets stuck in its point number `hang`; 0: never."""

    def __init__(self, cfg, folder, hang):
        super().__init__(cfg)
        self.folder, self.hang = folder, hang

    def score(self, *args, **kwargs):
        if len(self.scored) + 1 == self.hang:
            (self.folder / f"hangs-{os.getpid()}").touch()
            time.sleep(300)
        return super().score(*args, **kwargs)


def main():
    from edm2lite.evaluation.sweeps import outcome, search
    from edm2lite.evaluation.sweeps.run import take_part

    folder, options = Path(sys.argv[1]), json.loads(sys.argv[2])
    search.POLL_S, search.reconstruct_for = 0.05, lambda refs: None
    outcome.write_plots = lambda *arguments: None
    cfg = sweep_config(folder)
    scorer = Hanging(cfg, folder, options.get("hang", 0))
    take_part(cfg, scorer)
    print(f"scored {len(scorer.scored)}")


if __name__ == "__main__":
    main()
