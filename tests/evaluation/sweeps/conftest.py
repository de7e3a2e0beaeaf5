"""Searching without waiting and without models."""

import pytest

from edm2lite.evaluation.sweeps import outcome, search


@pytest.fixture
def instant(monkeypatch):
    """Nothing to reconstruct, no pause before a second look, and no plots."""
    monkeypatch.setattr(search, "POLL_S", 0.01)
    monkeypatch.setattr(search, "reconstruct_for", lambda refs: None)
    monkeypatch.setattr(outcome, "write_plots", lambda *arguments: None)
