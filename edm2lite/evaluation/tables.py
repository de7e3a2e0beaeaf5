"""Tables of the Frechet distance over pairs, EMA lengths and guidance weights, with the spread over blocks of seeds."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tqdm import tqdm

from edm2lite.config import ModelRef, TableConfig, plain
from edm2lite.evaluation.metrics import load_reference, score_pair
from edm2lite.evaluation.results import Result, Table, write_table
from edm2lite.files import write_json
from edm2lite.progress import progress_bar
from edm2lite.sampling.pair import Pair, load_ref, pick_device
from edm2lite.snapshots.load import LoadedModel


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One setting of a row; an EMA length of None is the shortest stored."""

    row: str
    guide: ModelRef
    main_ema: float | None
    guide_ema: float | None
    weight: float


def cells(cfg: TableConfig) -> Iterator[Cell]:
    """All settings of a table, row by row."""
    for row in cfg.rows:
        for main_ema, guide_ema, weight in itertools.product(row.main_ema, row.guide_ema, row.weights):
            yield Cell(row=row.name, guide=row.guide, main_ema=main_ema, guide_ema=guide_ema, weight=weight)


def compute_table(cfg: TableConfig) -> Table:
    """Score every setting, confirm the winners on fresh seeds, write and print the table.

    Finished blocks are kept in `results.json`, each under everything that could change its value (weights, sampler,
    seeds, batch size, reference), so an interrupted or extended table computes only what is missing.
    """
    scorer, wanted = _Scorer(cfg), list(cells(cfg))
    images = cfg.blocks * cfg.num_images
    with progress_bar(images * len(wanted), cfg.title) as bar:
        results = [scorer.score(cell, cfg.first_seed, bar) for cell in wanted]
    table = Table(results, {}, plain(asdict(cfg)), scorer.ref.detector, scorer.ref.num_images)
    if cfg.confirm and table.best(True) and table.best(False):
        with progress_bar(2 * images, f"{cfg.title}, fresh seeds") as bar:
            for guided in (False, True):
                cell = wanted[results.index(table.best(guided))]  # type: ignore[arg-type]
                table.confirmed[guided] = scorer.score(cell, cfg.first_seed + images, bar)
    write_table(Path(cfg.outdir), table)
    return table


class _Scorer:
    """Scores cells, remembering models in memory and results on disk."""

    def __init__(self, cfg: TableConfig):
        self.cfg, self.device = cfg, pick_device(cfg.device)
        self.ref, self.detector = load_reference(cfg.ref)
        self.ledger_path = Path(cfg.outdir) / "results.json"
        self.ledger: dict[str, float] = {}
        if self.ledger_path.exists():
            self.ledger = json.loads(self.ledger_path.read_text())
        self._models: dict[ModelRef, LoadedModel] = {}

    def score(self, cell: Cell, first_seed: int, bar: tqdm) -> Result:
        """Distances of a cell on the blocks of seeds that begin at `first_seed`."""
        cfg, pair, values = self.cfg, self._pair(cell), []
        for start in range(first_seed, first_seed + cfg.blocks * cfg.num_images, cfg.num_images):
            key = self._key(pair, start)
            if key in self.ledger:
                bar.update(cfg.num_images)
            else:
                seeds = list(range(start, start + cfg.num_images))
                self.ledger[key] = score_pair(pair, seeds, self.ref, self.detector, cfg.sampler, cfg.batch_size, bar)
                write_json(self.ledger_path, self.ledger)
            values.append(self.ledger[key])
        return Result(
            row=cell.row,
            main_ema=pair.main.info.sigma_rel,
            guide_ema=pair.guide.info.sigma_rel if pair.guide else None,
            weight=cell.weight,
            values=tuple(values),
        )

    def _pair(self, cell: Cell) -> Pair:
        main = self._model(replace(self.cfg.main, ema=cell.main_ema))
        guide = None if cell.guide.path is None else self._model(replace(cell.guide, ema=cell.guide_ema))
        return Pair(main, guide, cell.weight)

    def _model(self, ref: ModelRef) -> LoadedModel:
        if ref not in self._models:
            while len(self._models) >= 2:  # no more on the device than one pair needs
                del self._models[next(iter(self._models))]
            self._models[ref] = load_ref(ref, self.device)
        return self._models[ref]

    def _key(self, pair: Pair, start: int) -> str:
        """Everything that could change a value."""
        cfg = self.cfg
        identity = {
            "main": pair.main.fingerprint,
            "guide": pair.guide and pair.guide.fingerprint,
            "weight": pair.weight,
            "seeds": [start, cfg.num_images],
            "batch_size": cfg.batch_size,
            "sampler": plain(asdict(cfg.sampler)),
            "detector": self.ref.detector_sha256,
            "reference": [self.ref.dataset, self.ref.num_images],
        }
        return json.dumps(identity, sort_keys=True)
