"""Evaluation: features, metrics with their errors, tables, sweeps, reports."""
