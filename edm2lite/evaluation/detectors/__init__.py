"""Feature extractors: from images to the features that metrics compare."""
