"""Evaluation: features, Frechet distance, tables and the report."""
