"""Settings scored on blocks of seeds."""

from collections.abc import Sequence
from pathlib import Path

from edm2lite.config import ModelRef, Toy2dMeasureConfig
from edm2lite.config.cells import Cell
from edm2lite.config.toy2d import TRUTH
from edm2lite.evaluation.score import Score
from edm2lite.evaluation.tables.ledger import Ledger
from edm2lite.evaluation.tables.result import Result
from edm2lite.toy2d.jobs import Job, exact_kl_job, measure_job
from edm2lite.toy2d.work import Measure, measure_all

Setting = Cell | None  # None: true points


def score(cfg: Toy2dMeasureConfig, settings: Sequence[Setting], first_seed: int, title: str) -> list[Result]:
    """Results of settings on the blocks from a seed on; finished blocks are kept in OUTDIR/results."""
    starts = [first_seed + block * cfg.num_points for block in range(cfg.blocks)]
    values = _measured(cfg, [_job(cfg, setting, start) for setting in settings for start in starts], title, measure_job)
    by_setting = [values[i : i + cfg.blocks] for i in range(0, len(values), cfg.blocks)]
    return [_result(cfg, setting, own, first_seed) for setting, own in zip(settings, by_setting, strict=True)]


def exact_kls(
    cfg: Toy2dMeasureConfig, settings: Sequence[Setting], first_seed: int, title: str
) -> list[dict[str, float]]:
    """Exact KL of settings on a single block, and its standard error: kl, se. See `edm2lite.toy2d.jobs.exact_kl_job`."""
    return _measured(cfg, [_job(cfg, setting, first_seed) for setting in settings], title, exact_kl_job)


def _job(cfg: Toy2dMeasureConfig, setting: Setting, first_seed: int) -> Job:
    return Job(cell=setting, classes=cfg.classes, sampler=cfg.sampler, first_seed=first_seed, num_points=cfg.num_points)


def _measured(cfg: Toy2dMeasureConfig, jobs: Sequence[Job], title: str, measure: Measure) -> list[dict[str, float]]:
    return measure_all(jobs, Ledger(Path(cfg.outdir) / "results"), cfg.workers, title, measure)


def _result(cfg: Toy2dMeasureConfig, setting: Setting, blocks: list[dict[str, float]], first_seed: int) -> Result:
    scores = {
        name: tuple(Score(value=values[name], num_images=cfg.num_points) for values in blocks) for name in blocks[0]
    }
    if setting is None:
        return Result(
            row=TRUTH, main_ema=None, guide_ema=None, guide_nimg=None, weight=1.0, scores=scores, first_seed=first_seed
        )
    guide = setting.guides[0] if setting.row.guide.path is not None else ModelRef()
    return Result(
        row=setting.row.name, vary=setting.row.vary, weight=setting.weight, main_ema=setting.main.ema,
        guide_ema=guide.ema, guide_nimg=guide.nimg, scores=scores, first_seed=first_seed,
    )  # fmt: skip
