"""One self-contained HTML file: tables, curves, and the same seeds side by side at rising guidance weight."""

import base64
import html
import io
from dataclasses import replace
from pathlib import Path

import numpy as np

from edm2lite import __version__
from edm2lite.config import GuidanceConfig, ModelRef, ReportConfig, TableConfig, parse_seeds
from edm2lite.config.evaluation import VARIED
from edm2lite.data.sheets import sheet, to_picture
from edm2lite.evaluation.plots import distance_over_ema, distance_over_weight, loss_curves
from edm2lite.evaluation.results import HEADER, Result, Table, read_tables, text_rows
from edm2lite.files import write_text
from edm2lite.sampling.pair import load_pair

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem;color:#222;background:#fff}
h1,h2,h3{line-height:1.2}h2{margin-top:2.5rem;border-top:1px solid #ddd;padding-top:1.5rem}
img{max-width:100%;height:auto}img.pixels{image-rendering:pixelated}
figure{margin:1rem 0}figcaption{color:#555;font-size:.9rem}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}
th,td{padding:.2rem .6rem;text-align:right;border-bottom:1px solid #eee;white-space:nowrap}
th:first-child,td:first-child{text-align:left}tr.best td{background:#e8f4e8;font-weight:600}
.verdict{background:#f4f4f4;padding:.6rem 1rem;border-left:4px solid #888}
"""


def write_report(cfg: ReportConfig) -> None:
    """Write the report of some finished tables to `cfg.out`.

    Raises:
        UserError: If no table is named, or one is not finished.
    """
    seeds = parse_seeds(cfg.seeds)
    sections = [_section(table, seeds) for table in read_tables(cfg.tables)]
    title = html.escape(cfg.title)
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><h1>{title}</h1><p>Made by edm2lite {__version__}. Autoguidance: D = D_guide + w (D_main - D_guide), "
        f"the guide being a worse version of the main model (Karras et al. 2024, arXiv 2406.02507).</p>"
        f"{''.join(sections)}</body></html>\n"
    )
    write_text(cfg.out, page)
    print(f"report: {Path(cfg.out).resolve()}")


def _section(table: Table, seeds: list[int]) -> str:
    """Everything about one table."""
    c = table.config
    caption = (
        f"Frechet distance in the features of {table.detector} (a classifier of this very dataset, so no FID) to its "
        f"{table.reference_images} images; {c['num_images']} images a block, mean and standard deviation over "
        f"{c['blocks']} disjoint blocks of seeds."
    )
    verdict = "<br>".join(html.escape(line) for line in table.verdict())
    parts = [f"<h2>{html.escape(c['title'])}</h2>", f'<p class="verdict">{verdict}</p>']
    parts.append(
        _figure(_svg_uri(distance_over_weight(table)), "Distance over guidance weight, each guide at its best EMA.")
    )
    if any(r.guided for r in table.results):
        parts.append(_samples(table, seeds))
    parts.append(_html_table(table, caption))
    parts.append(_figure(_svg_uri(distance_over_ema(table)), "The main model alone, over its EMA length."))
    runs = [run for run in _run_dirs(table) if (run / "metrics.csv").is_file()]
    if runs:
        parts.append(_figure(_svg_uri(loss_curves(runs)), "Training loss of main and guides."))
    return "".join(parts)


def _samples(table: Table, seeds: list[int]) -> str:
    """The same seeds with the main alone and with the best guide at rising weights, one row a weight."""
    best = table.best(True)
    assert best is not None
    weights = sorted({r.weight for r in table.results if r.row == best.row})
    strips = [sheet(_sample(table, best, w, seeds), columns=len(seeds)) for w in (VARIED[best.vary], *weights)]
    names = ", ".join(replace(best, weight=w).strength for w in weights)
    caption = f"Seeds {seeds[0]} to {seeds[-1]}; from top to bottom main alone, {names}"
    return _figure(_png_uri(np.concatenate(strips, axis=1)), f"{caption}. {best.row}.", css="pixels")


def _sample(table: Table, result: Result, weight: float, seeds: list[int]) -> list[np.ndarray]:
    """Images of the seeds with a result's models at another weight."""
    cfg = TableConfig.from_plain(table.config)
    row = next(row for row in cfg.rows if row.name == result.row)
    main, guide, guidance = replace(cfg.main_of(row), ema=result.main_ema), ModelRef(), GuidanceConfig()
    if weight != VARIED[row.vary]:
        guidance = row.guided_by(weight)
        guide = row.guide if guidance.guides else replace(row.guide, ema=result.guide_ema)
    pair = load_pair(main, guide, guidance, device=cfg.device, vae=cfg.vae, models=cfg.models)
    return [image for batch in pair.sample(seeds, cfg.sampler, len(seeds)) for image in batch.pixels.cpu().numpy()]


def _run_dirs(table: Table) -> list[Path]:
    """Run directories of mains and guides, each once."""
    cfg = TableConfig.from_plain(table.config)
    refs = [ref for row in cfg.rows for ref in (cfg.main_of(row), *cfg.guides_of(row))]
    return [Path(path) for path in dict.fromkeys(ref.path for ref in refs) if path]


def _html_table(table: Table, caption: str) -> str:
    best = (table.best(False), table.best(True))
    rows = "".join(
        f"<tr{' class=best' if result in best else ''}>"
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
        + "</tr>"
        for result, row in zip(table.results, text_rows(table), strict=True)
    )
    head = "".join(f"<th>{name}</th>" for name in HEADER)
    return f'<p>{html.escape(caption)}</p><div class="wide"><table><tr>{head}</tr>{rows}</table></div>'


def _figure(uri: str, caption: str, css: str = "") -> str:
    alt = html.escape(caption)
    return f'<figure><img class="{css}" src="{uri}" alt="{alt}"><figcaption>{alt}</figcaption></figure>'


def _svg_uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _png_uri(pixels: np.ndarray) -> str:
    data = io.BytesIO()
    to_picture(pixels).save(data, format="PNG")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()
