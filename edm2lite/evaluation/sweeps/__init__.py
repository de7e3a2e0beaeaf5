"""Sweeps: the search over EMA lengths, guidance weights and training lengths of a pair."""
