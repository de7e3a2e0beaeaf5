"""Datasets, their order in training, and the encoders between pixels and what the network sees."""
