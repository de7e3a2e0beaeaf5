"""Sampling: noise levels, solvers, per-seed noise, and the writing of images."""
