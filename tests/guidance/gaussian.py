"""Data whose denoiser is known exactly: Gaussian, N(mean, std^2) in every element."""

import torch
from torch import Tensor

STD = 0.5


def gaussian(
    x: Tensor, sigma: Tensor | float, labels: Tensor | None = None, mean: float | Tensor = 0.0, std: float = STD
) -> Tensor:
    """The denoiser of N(mean, std^2): (std^2 x + sigma^2 mean) / (std^2 + sigma^2); for sigma [B], x is [B, C, H, W]."""
    sigma = torch.as_tensor(sigma, dtype=x.dtype)
    if sigma.ndim:
        sigma = sigma.reshape(-1, 1, 1, 1)
    return (std**2 * x + sigma**2 * mean) / (std**2 + sigma**2)


class Gaussian:
    """The denoiser of N(mu, s^2); of N(mu + label, s^2) with labels. It remembers the noise levels it was called at."""

    img_resolution, img_channels, label_dim, sigma_data = 4, 1, 3, 0.5

    def __init__(self, s, mu=0.0):
        self.s, self.mu, self.levels = s, mu, []

    @property
    def calls(self):
        return len(self.levels)

    def __call__(self, x, sigma, labels=None):
        self.levels.append(sigma)
        mu = self.mu if labels is None else self.mu + labels.reshape(-1, 1, 1, 1).to(x)
        return gaussian(x, sigma, mean=mu, std=self.s)
