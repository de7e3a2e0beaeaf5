"""Tables of the Frechet distance over pairs, EMA lengths and guidance weights, with the spread over blocks of seeds."""

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from edm2lite.config import GuidanceConfig, GuideConfig, ModelRef, TableConfig, TableRow, all_guides, plain
from edm2lite.data.devices import pick_device
from edm2lite.evaluation.ledger import Ledger
from edm2lite.evaluation.metrics import load_reference, score_pair
from edm2lite.evaluation.results import Result, Table, write_table
from edm2lite.progress import progress_bar
from edm2lite.sampling.pair import Pair, load_ref
from edm2lite.snapshots.classifiers import load_classifier
from edm2lite.snapshots.fetch import resolve
from edm2lite.snapshots.load import LoadedModel
from edm2lite.snapshots.posthoc import reconstruct_for


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One setting of a row."""

    row: TableRow
    main: ModelRef
    guides: tuple[GuideConfig, ...]
    guidance: GuidanceConfig
    weight: float


def cells(cfg: TableConfig) -> Iterator[Cell]:
    """All settings of a table, row by row."""
    for row in cfg.rows:
        main = cfg.main_of(row)
        for main_ema, guide_ema, weight in itertools.product(row.main_ema, row.guide_ema, row.weights):
            guidance = row.guided_by(weight)
            yield Cell(
                row=row, main=replace(main, ema=main_ema), guidance=guidance, weight=weight,
                guides=all_guides(replace(row.guide, ema=guide_ema), guidance),
            )  # fmt: skip


def compute_row(cfg: TableConfig) -> None:
    """Score the settings of row `cfg.only_row` alone and keep the values, for `compute_table` to find."""
    assert cfg.only_row is not None
    row = cfg.rows[cfg.only_row]
    _score_all(cfg, list(cells(replace(cfg, rows=(row,), only_row=None))), _Scorer(cfg))
    print(f"row {row.name!r} is kept in {cfg.outdir}; the same command without --only_row writes the table")


def compute_table(cfg: TableConfig) -> Table:
    """Score every setting, confirm the winners on fresh seeds, write and print the table.

    Finished blocks are kept in `results/`, each under everything that could change its value (weights, sampler,
    seeds, batch size, reference), so an interrupted or extended table computes only what is missing.
    """
    scorer, wanted = _Scorer(cfg), list(cells(cfg))
    images = cfg.blocks * cfg.num_images
    results = _score_all(cfg, wanted, scorer)
    table = Table(results, {}, plain(asdict(cfg)), scorer.ref.detector, scorer.ref.num_images)
    if cfg.confirm and table.best(True) and table.best(False):
        with progress_bar(2 * images, f"{cfg.title}, fresh seeds") as bar:
            for guided in (False, True):
                cell = wanted[results.index(table.best(guided))]  # type: ignore[arg-type]
                table.confirmed[guided] = scorer.score(cell, cfg.first_seed + images, bar)
    write_table(Path(cfg.outdir), table)
    return table


def _score_all(cfg: TableConfig, wanted: list[Cell], scorer: "_Scorer") -> list[Result]:
    reconstruct_for(resolve(ref, cfg.models) for cell in wanted for ref in (cell.main, *cell.guides))
    with progress_bar(cfg.blocks * cfg.num_images * len(wanted), cfg.title) as bar:
        return [scorer.score(cell, cfg.first_seed, bar) for cell in wanted]


class _Scorer:
    """Scores cells, remembering models in memory and results on disk."""

    def __init__(self, cfg: TableConfig):
        self.cfg, self.device = cfg, pick_device(cfg.device)
        self.ref, self.detector = load_reference(cfg.ref)
        self.ledger = Ledger(Path(cfg.outdir) / "results")
        self._models: dict[tuple, LoadedModel] = {}

    def score(self, cell: Cell, first_seed: int, bar: tqdm) -> Result:
        """Distances of a cell on the blocks of seeds that begin at `first_seed`."""
        cfg, pair, values = self.cfg, self._pair(cell), []
        for start in range(first_seed, first_seed + cfg.blocks * cfg.num_images, cfg.num_images):
            settings = self._settings(pair, start)
            value = self.ledger.get(settings)
            if value is None:
                seeds = list(range(start, start + cfg.num_images))
                value = score_pair(pair, seeds, self.ref, self.detector, cfg.sampler, cfg.batch_size, bar)
                self.ledger.put(settings, value)
            else:
                bar.update(cfg.num_images)
            values.append(value)
        return Result(
            row=cell.row.name,
            vary=cell.row.vary,
            main_ema=pair.main.info.sigma_rel,
            guide_ema=pair.guides[0][0].info.sigma_rel if pair.guides else None,
            weight=cell.weight,
            values=tuple(values),
        )

    def _pair(self, cell: Cell) -> Pair:
        classifier = cell.guidance.classifier
        while len(self._models) > 8:  # a pair and its next neighbours
            del self._models[next(iter(self._models))]
        return Pair(
            self._model(cell.main),
            cell.main,
            tuple((self._model(cfg), cfg) for cfg in cell.guides),
            cell.guidance,
            load_classifier(resolve(classifier.model, self.cfg.models), self.device) if classifier.scale else None,
            self.cfg.vae,
        )

    def _model(self, ref: ModelRef) -> LoadedModel:
        key = (ref.path, ref.nimg, ref.ema)
        if key not in self._models:
            self._models[key] = load_ref(ref, self.device, models=self.cfg.models)
        return self._models[key]

    def _settings(self, pair: Pair, start: int) -> dict[str, Any]:
        """Everything that could change a value."""
        cfg = self.cfg
        return {
            "pair": pair.identity(),
            "seeds": [start, cfg.num_images],
            "batch_size": cfg.batch_size,
            "sampler": plain(asdict(cfg.sampler)),
            "detector": self.ref.detector_sha256,
            "reference": [self.ref.dataset, self.ref.num_images],
        }
