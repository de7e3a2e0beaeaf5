"""Settings of reports."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """One self-contained HTML file from finished tables and sweeps.

    Attributes:
        tables: Output directories of tables and sweeps.
        out: File to write (.html).
        title: Heading.
        seeds: Seeds of the pictures that show the same images at rising weight; null: no pictures, and no model is loaded.
        device: Where the pictures are made: cpu, cuda, cuda:1 or auto.
    """

    tables: tuple[str, ...] = ()
    out: str = "report.html"
    title: str = "edm2lite report"
    seeds: str | None = "0-15"
    device: str = "auto"
