"""Snapshots: safe files of weights, post-hoc EMA, and the reading of NVIDIA's pickles."""
