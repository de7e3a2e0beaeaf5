"""Tables of metrics over pairs, EMA lengths and guidance weights, block of seeds by block of seeds."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edm2lite.config import TableConfig
from edm2lite.config.cells import Cell, cell, cells
from edm2lite.config.tables import check_claims, check_published
from edm2lite.evaluation.tables.formats import write_table
from edm2lite.evaluation.tables.results import Result, Table
from edm2lite.evaluation.tables.scorer import Scorer
from edm2lite.progress import progress_bar
from edm2lite.ranks import is_first_rank, parse_shard
from edm2lite.snapshots.fetch import resolve
from edm2lite.snapshots.once import one_at_a_time
from edm2lite.snapshots.posthoc import reconstruct_for

__all__ = ["Cell", "Scorer", "cell", "cells", "compute_row", "compute_table", "score_all"]


def compute_row(cfg: TableConfig) -> None:
    """Score the settings of row `cfg.only_row` alone and keep the values, for `compute_table` to find."""
    assert cfg.only_row is not None
    row, scorer = cfg.rows[cfg.only_row], Scorer(cfg)
    _check(cfg, scorer)
    if score_all(cfg, list(cells(replace(cfg, rows=(row,), only_row=None, claims=()))), scorer) is not None:
        print(f"row {row.name!r} is kept in {cfg.outdir}; the same command without --only_row writes the table")


def compute_table(cfg: TableConfig) -> Table | None:
    """Score every setting, confirm the winners on fresh seeds, write and print the table.

    Finished blocks are kept in `results/`, each under everything that could change its value (weights, sampler,
    seeds, batch size, reference), so an interrupted or extended table computes only what is missing.

    Returns:
        None if other processes are still at work: who finds all blocks there writes the table.
    """
    scorer, wanted = Scorer(cfg), list(cells(cfg))
    _check(cfg, scorer)
    results = score_all(cfg, wanted, scorer)
    if results is None:
        return None
    table = scorer.table(results)
    best = [table.best(guided) for guided in (False, True)]
    if cfg.confirm and all(best):
        again = [wanted[next(i for i, r in enumerate(results) if r is found)] for found in best]
        table.confirmed.update(zip((False, True), _on_fresh_seeds(cfg, again, scorer), strict=True))
    write_table(Path(cfg.outdir), table)
    return table


def _check(cfg: TableConfig, scorer: Scorer) -> None:
    """Raise a UserError if a published value or a claim is of a metric that is not computed."""
    metrics = [metric.name for metric in scorer.meter.metrics]
    check_published(cfg.rows, metrics)
    check_claims(cfg.claims, cfg.rows, metrics)


def _on_fresh_seeds(cfg: TableConfig, settings: Sequence[Cell], scorer: Scorer) -> list[Result]:
    """Results of settings on the seeds after those of the table.

    One process may be here, or all of them, if the command was interrupted here before: each begins with another block, and
    waits for what another one has begun.
    """
    each, first = cfg.num_images, cfg.first_seed + cfg.blocks * cfg.num_images
    starts = range(first, first + cfg.blocks * each, each)
    blocks = list(enumerate((setting, start) for setting in settings for start in starts))
    own, locks = parse_shard(cfg.shard).index % len(blocks), Path(cfg.outdir) / ".locks"
    with progress_bar(len(blocks) * each, f"{cfg.title}, fresh seeds") as bar:
        for i, (setting, start) in blocks[own:] + blocks[:own]:
            with one_at_a_time(locks / str(i), f"fresh seeds from {start} on of {setting.row.name}"):
                scorer.score(setting, start, bar, blocks=1)
    shutil.rmtree(locks, ignore_errors=True)
    return [scorer.score(setting, first) for setting in settings]


def score_all(cfg: TableConfig, wanted: Sequence[Cell], scorer: Scorer) -> list[Result] | None:
    """The results of some settings: this process's share of the blocks is computed, with a progress bar over images.

    Returns:
        None if blocks of other processes' shares are missing.
    """
    shard, each = parse_shard(cfg.shard), cfg.num_images
    starts = range(cfg.first_seed, cfg.first_seed + cfg.blocks * each, each)
    blocks = [(setting, start) for setting in wanted for start in starts]
    share = blocks[shard.index :: shard.count]
    reconstruct_for(resolve(ref, cfg.models) for setting in wanted for _, ref in setting.parts)
    with progress_bar(len(share) * each, cfg.title, disable=not is_first_rank()) as bar:
        for setting, start in share:
            scorer.score(setting, start, bar, blocks=1)
    if others := sum(not scorer.is_held(setting, start) for setting, start in blocks):
        print(f"{cfg.outdir}: shard {shard.index}/{shard.count} is done; other shards lack {others} blocks")
        return None
    return [scorer.score(setting, cfg.first_seed) for setting in wanted]
