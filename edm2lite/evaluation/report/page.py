"""One self-contained HTML file: tables, curves, heat maps, and the same seeds side by side at rising guidance weight."""

from importlib import resources
from pathlib import Path

from edm2lite import __version__
from edm2lite.config import ReportConfig, TableConfig, parse_seeds
from edm2lite.data.devices import pick_device
from edm2lite.evaluation.report.markup import element, text
from edm2lite.evaluation.report.section import Section
from edm2lite.evaluation.tables.results import read_tables
from edm2lite.files import write_text

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"  # nothing is loaded
_ABOUT = (
    "Autoguidance: D = D_guide + w (D_main - D_guide), the guide being a worse version of the main model "
    "(Karras et al. 2024, arXiv 2406.02507); w = 1 is the main model alone."
)


def write_report(cfg: ReportConfig) -> None:
    """Write the report of some finished tables or sweeps to `cfg.out`.

    Pictures need the models; where these are gone, the report says so and has the rest.

    Raises:
        UserError: If no table is named, one is not finished, the seeds cannot be read, or there is no such device.
    """
    seeds = parse_seeds(cfg.seeds) if cfg.seeds else []
    if seeds:
        pick_device(cfg.device)
    tables = zip(read_tables(cfg.tables), cfg.tables, strict=True)
    sections = [Section(table, outdir, seeds, cfg.device, i) for i, (table, outdir) in enumerate(tables, 1)]
    for section in sections:
        TableConfig.from_plain(section.table.config)  # refuses what it cannot read before any picture is made
    write_text(cfg.out, page(cfg.title, sections))
    print(f"report: {Path(cfg.out).resolve()}")


def page(title: str, sections: list[Section]) -> str:
    """The whole document."""
    style, script = (_file(f"report.{kind}") for kind in ("css", "js"))
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><meta name="color-scheme" content="light dark">'
        f"<title>{text(title)}</title><style>{style}</style>"
    )
    contents = element("nav", element("ul", "".join(s.contents() for s in sections)), aria_label="Contents")
    body = (
        element("header", element("h1", text(title)) + element("p", text(_ABOUT), class_="soft") + contents)
        + element("main", "".join(section.html() for section in sections))
        + element("footer", f"Made by edm2lite {text(__version__)}.")
        + f"<script>{script}</script>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def _file(name: str) -> str:
    """A file of this folder, which an installed package carries, too."""
    return (resources.files("edm2lite.evaluation.report") / name).read_text(encoding="utf-8")
