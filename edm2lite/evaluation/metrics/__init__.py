"""Metrics: numbers from features, with their errors; they know no images and no models."""
