"""Data whose denoiser is known exactly."""

import torch


class Gaussian:
    """Exact denoiser of N(mu, s^2 I): D = (s^2 x + sigma^2 mu) / (s^2 + sigma^2); remembers the noise levels it was called at.

    With labels it is N(mu + label, s^2 I).
    """

    img_resolution, img_channels, label_dim, sigma_data = 4, 1, 3, 0.5

    def __init__(self, s, mu=0.0):
        self.s, self.mu, self.levels = s, mu, []

    @property
    def calls(self):
        return len(self.levels)

    def __call__(self, x, sigma, labels=None):
        self.levels.append(sigma)
        sigma = torch.as_tensor(sigma, dtype=x.dtype).reshape(-1, 1, 1, 1)
        mu = self.mu if labels is None else self.mu + labels.reshape(-1, 1, 1, 1).to(x)
        return (self.s**2 * x + sigma**2 * mu) / (self.s**2 + sigma**2)
