"""Training: loss, learning rate, EMA tracking, the Lightning module and its callbacks. Lightning is imported here alone."""
