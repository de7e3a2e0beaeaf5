"""Scores of single settings, measured or found in the ledger."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from tqdm import tqdm

from edm2lite.config import Metric, ModelRef, TableConfig, parse_metric, plain
from edm2lite.config.cells import Cell
from edm2lite.evaluation.meter import Meter
from edm2lite.evaluation.sources import PairSource
from edm2lite.evaluation.tables.ledger import Ledger
from edm2lite.evaluation.tables.results import Result, Table
from edm2lite.files import digest
from edm2lite.sampling.describe import machine
from edm2lite.sampling.pair import Copies, Pair, load_ref
from edm2lite.snapshots.classifiers import load_classifier
from edm2lite.snapshots.fetch import resolve
from edm2lite.snapshots.load import LoadedModel

_PARAMETERS = 10**9  # of models that are kept for the next settings, beside the pair at work


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """What the ledger and a result need to know of a setting, so that its models need not be loaded again."""

    identity: dict[str, Any]
    main_ema: float | None
    guide_ema: float | None
    guide_nimg: int | None


class Scorer:
    """Scores settings, remembering models in memory and scores on disk.

    Args:
        cfg: Reference, metrics, sampler, number and size of blocks; its rows are not looked at.
    """

    def __init__(self, cfg: TableConfig):
        self.cfg, self.meter = cfg, Meter(cfg)
        self.protocols = {metric: self.meter.protocol(metric) for metric in self.meter.metrics}
        self.ledger = Ledger(Path(cfg.outdir) / "results")
        self._models: dict[tuple, LoadedModel] = {}
        self._copies: Copies = WeakKeyDictionary()  # of these, ready for sampling
        self._facts: dict[str, _Facts] = {}

    def table(self, results: list[Result]) -> Table:
        """A table of results that this has scored; nothing is confirmed yet."""
        metrics = {metric.name: protocol for metric, protocol in self.protocols.items()}
        reference = {"file": self.meter.reference.path, **self.meter.reference.data}
        return Table(
            results, {}, plain(asdict(self.cfg)), tuple(metrics), metrics, reference, machine(self.meter.device)
        )

    def score(
        self,
        cell: Cell,
        first_seed: int,
        bar: tqdm | None = None,
        blocks: int | None = None,
        num_images: int | None = None,
    ) -> Result:
        """Scores of a setting on blocks of seeds.

        Args:
            cell: The setting.
            first_seed: Of the first block.
            bar: Progress over images.
            blocks, num_images: How many, how large; default: as configured.
        """
        blocks, each = blocks or self.cfg.blocks, num_images or self.cfg.num_images
        found = [self._block(cell, start, each, bar) for start in range(first_seed, first_seed + blocks * each, each)]
        facts = self._facts_of(cell)
        return Result(
            row=cell.row.name, vary=cell.row.vary, main_ema=facts.main_ema, weight=cell.weight,
            guide_ema=facts.guide_ema, guide_nimg=facts.guide_nimg,
            scores={metric.name: tuple(scores[metric.name] for scores in found) for metric in self.meter.metrics},
            published={parse_metric(name).name: value for name, value in cell.row.published.items()},
            first_seed=first_seed,
        )  # fmt: skip

    def is_held(self, cell: Cell, start: int, num_images: int | None = None) -> bool:
        """Whether the ledger has all metrics of a block."""
        keys = self._keys(self._facts_of(cell), start, num_images or self.cfg.num_images)
        return all(self.ledger.get(key) is not None for key in keys.values())

    def _block(self, cell: Cell, start: int, count: int, bar: tqdm | None) -> dict[str, Any]:
        """Scores of one block by metric: from the ledger, or measured and put there."""
        keys = self._keys(self._facts_of(cell), start, count)
        scores = {m: self.ledger.get(key) for m, key in keys.items()}
        lacking = [m for m, score in scores.items() if score is None]
        if lacking:
            source = self._source(self._pair(cell), list(range(start, start + count)))
            for name, score in self.meter.measure(source, source.keys, lacking, bar).items():
                metric = next(m for m in lacking if m.name == name)
                scores[metric] = score
                self.ledger.put(keys[metric], score)
        elif bar is not None:
            bar.update(count)
        return {metric.name: score for metric, score in scores.items()}

    def _keys(self, facts: _Facts, start: int, count: int) -> dict[Metric, dict[str, Any]]:
        """Everything that could change the value of each metric on a block."""
        return {m: {**facts.identity, "seeds": [start, count], **protocol} for m, protocol in self.protocols.items()}

    def _facts_of(self, cell: Cell) -> _Facts:
        name = digest(plain([asdict(cell.main), [asdict(guide) for guide in cell.guides], asdict(cell.guidance)]))
        if name not in self._facts:
            pair = self._pair(cell)
            guide = pair.guides[0][0].info if pair.guides else None
            self._facts[name] = _Facts(
                identity=self._source(pair, []).identity,
                main_ema=pair.main.info.sigma_rel,
                guide_ema=None if guide is None else guide.sigma_rel,
                guide_nimg=None if guide is None or guide.nimg is None else int(guide.nimg),
            )
        return self._facts[name]

    def _source(self, pair: Pair, seeds: list[int]) -> PairSource:
        return PairSource(pair, seeds, self.cfg.sampler, self.cfg.batch_size, self.cfg.labels)

    def _pair(self, cell: Cell) -> Pair:
        classifier = cell.guidance.classifier
        while len(self._models) > 8 or self._parameters() > _PARAMETERS:
            del self._models[next(iter(self._models))]
        return Pair(
            self._model(cell.main),
            cell.main,
            tuple((self._model(cfg), cfg) for cfg in cell.guides),
            cell.guidance,
            load_classifier(resolve(classifier.model, self.cfg.models), self.meter.device)
            if classifier.scale
            else None,
            self.cfg.vae,
            self.cfg.compile,
            self._copies,
        )

    def _parameters(self) -> int:
        return sum(p.numel() for model in self._models.values() for p in model.denoiser.parameters())

    def _model(self, ref: ModelRef) -> LoadedModel:
        key = (ref.path, ref.nimg, ref.ema)
        if key not in self._models:
            self._models[key] = load_ref(ref, self.meter.device, self.cfg.precision, self.cfg.models)
        return self._models[key]
