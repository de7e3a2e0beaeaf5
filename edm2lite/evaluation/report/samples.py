"""The same seeds from main, guide and both, and at rising guidance weight."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from edm2lite.config import Nimg, TableConfig, TableRow
from edm2lite.config.tables import VARIED
from edm2lite.data.sheets import sheet
from edm2lite.errors import UserError
from edm2lite.evaluation.report.markup import element, figure, picture, scrolling, text
from edm2lite.evaluation.tables.result import Result
from edm2lite.evaluation.tables.results import Table
from edm2lite.sampling.pair import Pair, load_pair

MOST_WEIGHTS = 6  # rows of a sheet
_SIDE = 128  # pixels; larger images are shrunk to it
_SMALL = 32  # pixels; smaller images are shown pixel by pixel


def sample_sheets(table: Table, cfg: TableConfig, seeds: Sequence[int], device: str) -> str:
    """Figures of the best guided result; where its models cannot be loaded, a note that says why.

    Args:
        table, cfg: Results and their configuration; the best guided result names the models.
        seeds: Images of a row.
        device: cpu, cuda, cuda:1 or auto.
    """
    best = table.best(True)
    if best is None:
        return element("p", "No result is guided, so there is nothing to show beside the main model alone.")
    try:
        rising, parts = _strips(table, cfg, best, seeds, device)
    except (UserError, OSError) as e:
        return element("p", f"No pictures: the models of the best result cannot be loaded. {text(e)}", class_="missing")
    caption = f"Seeds {_span(seeds)} of {best.setting}: the same noise at rising strength, top to bottom."
    sheets = _sheet(rising, caption)
    if parts:
        caption = f"The same seeds from the main model, the guide alone, and both ({best.strength})."
        sheets += _sheet(parts, caption)
    return sheets


def some_weights(weights: Sequence[float], best: float, most: int = MOST_WEIGHTS) -> list[float]:
    """At most so many of the weights, evenly over their ranks, lowest, highest and the best among them, rising."""
    rising = sorted(set(weights))
    if len(rising) <= most:
        return rising
    picks = {rising[round(i * (len(rising) - 1) / (most - 2))] for i in range(most - 1)}
    return sorted(picks | {best})


_Strips = list[tuple[str, list[np.ndarray]]]  # name, uint8 [C, H, W] each


def _strips(table: Table, cfg: TableConfig, best: Result, seeds: Sequence[int], device: str) -> tuple[_Strips, _Strips]:
    """Main alone and rising weights; and main, guide, both, if there is a guide."""
    off, row = VARIED[best.vary], next(row for row in cfg.rows if row.name == best.row)
    weights = some_weights([r.weight for r in table.results if r.row == best.row], best.weight)
    both = _load(cfg, row, best, device)
    found = {off: _images(cfg, both.alone(), seeds)}
    found |= {w: _images(cfg, _at(both, row, w), seeds) for w in weights}
    rising = [("main alone" if w == off else _name(best, w), found[w]) for w in sorted(found)]
    if not both.guides:
        return rising, []
    guide = _images(cfg, both.guide_alone(), seeds)
    return rising, [("main", found[off]), ("guide", guide), ("both", found[best.weight])]


def _name(best: Result, weight: float) -> str:
    return replace(best, weight=weight).strength + (" (best)" if weight == best.weight else "")


def _load(cfg: TableConfig, row: TableRow, result: Result, device: str) -> Pair:
    """The models of a result, guided as there."""
    main, guide, guidance = replace(cfg.main_of(row), ema=result.main_ema), row.guide, row.guided_by(result.weight)
    if guide.path is not None and not guidance.guides:
        found = result.guide_nimg
        nimg = guide.nimg if row.guide_nimg == (None,) or found is None else Nimg(found)
        guide = replace(guide, ema=result.guide_ema, nimg=nimg)
    return load_pair(
        main,
        guide,
        guidance,
        device=device,
        precision=cfg.precision,
        vae=cfg.vae,
        models=cfg.models,
        compile=cfg.compile,
    )


def _at(pair: Pair, row: TableRow, weight: float) -> Pair:
    """The same models at another value of what the row varies; none is loaded again."""
    guidance = row.guided_by(weight)
    configs = guidance.guides or [replace(guide, weight=guidance.weight) for _, guide in pair.guides]
    guides = tuple((model, guide) for (model, _), guide in zip(pair.guides, configs, strict=True))
    return replace(pair, guides=guides, guidance=guidance)


def _images(cfg: TableConfig, pair: Pair, seeds: Sequence[int]) -> list[np.ndarray]:
    batches = pair.sample(list(seeds), cfg.sampler, min(len(seeds), cfg.batch_size), labels=cfg.labels)
    return [_shrunk(image) for batch in batches for image in batch.pixels.cpu().numpy()]


def _shrunk(image: np.ndarray) -> np.ndarray:
    """An image no larger than a thumbnail; uint8 [C, H, W]."""
    height, width = image.shape[1:]
    if max(height, width) <= _SIDE:
        return image
    size = (round(width * _SIDE / max(height, width)), round(height * _SIDE / max(height, width)))
    planes = [np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.LANCZOS)) for plane in image]
    return np.stack(planes)


def _sheet(strips: _Strips, caption: str) -> str:
    """Strips below each other, each with its name above it."""
    rows = []
    for name, images in strips:
        small = max(images[0].shape[1:]) <= _SMALL
        alt = f"{name}: {len(images)} images"
        content = element("p", text(name)) + picture(sheet(images, columns=len(images)), alt, pixelated=small)
        rows.append(element("div", content, class_="strip"))
    return figure(scrolling("".join(rows), caption), caption)


def _span(seeds: Sequence[int]) -> str:
    """ "0 to 15", or the seeds themselves if they have gaps."""
    rising = list(range(seeds[0], seeds[0] + len(seeds)))
    return f"{seeds[0]} to {seeds[-1]}" if list(seeds) == rising and len(seeds) > 2 else ", ".join(map(str, seeds))
