"""Reports: one self-contained HTML file with tables, curves, heat maps and samples."""
