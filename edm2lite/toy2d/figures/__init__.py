"""Figures and animation of the 2D example (Karras et al. 2024b, arXiv 2406.02507, Figures 1 and 2)."""
