"""A small network that is a log-density, for points in the plane (Karras et al. 2024b, arXiv 2406.02507, Appendix C)."""

import torch
from torch import Tensor, nn

from edm2lite.config import NetworkConfig
from edm2lite.errors import UserError
from edm2lite.network.layers import MPConv, mp_silu

# The gain's sign decides what kind of density it becomes: below 0 it falls without bound off the data, above 0 it must be built
# up from peaks, and is learnt half as well. From 0 chance chooses; the first, random steps raise the gain by up to 0.08.
_FIRST_GAIN = -0.1
_HIDDEN = 4  # times SiLU and a linear layer, after the first linear layer


class Energy(nn.Module):
    """log p(x; sigma) = gain/sigma mean_c f_c^2 - |c_in x|^2 / 2 up to a constant, and the denoiser that follows from it.

    f is a magnitude-preserving MLP of (c_in x, ln(sigma)/4, 1); with a gain of 0 p is a normal distribution. To the
    denoiser a point is an image of `img_channels` channels and one pixel.

    Args:
        img_resolution: 1.
        img_channels: Dimensions of a point.
        label_dim: 0: one network a class.
        network: `model_channels` is the width, `sigma_data` the standard deviation of the data; nothing else is used.

    Raises:
        UserError: If asked for images or labels.
    """

    def __init__(self, img_resolution: int, img_channels: int, label_dim: int, network: NetworkConfig):
        super().__init__()
        if img_resolution != 1 or label_dim != 0:
            raise UserError(
                f"an energy has resolution {img_resolution} and {label_dim} classes; it is of single points of one class: "
                "give resolution 1 and label_dim 0"
            )
        self.img_resolution, self.img_channels, self.label_dim = img_resolution, img_channels, label_dim
        self.network, self.sigma_data = network, network.sigma_data
        width = network.model_channels
        hidden = [layer for _ in range(_HIDDEN) for layer in (_MPSiLU(), MPConv(width, width, ()))]
        self.layers = nn.Sequential(MPConv(img_channels + 2, width, ()), *hidden)
        self.gain = nn.Parameter(torch.tensor(_FIRST_GAIN))

    def logp(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """log p(x; sigma) up to a constant of sigma: points [N, D], sigma scalar or [N] -> [N]."""
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).reshape(-1, 1)
        x = x / (sigma**2 + self.sigma_data**2).sqrt()
        noise = (sigma.log() / 4).expand(len(x), 1)
        f = self.layers(torch.cat([x, noise, torch.ones_like(noise)], dim=1))
        return f.square().mean(1) * (self.gain / sigma[:, 0]) - x.square().sum(1) / 2

    def score(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """grad_x log p(x; sigma), [N, D]; differentiable by the weights if they are trained."""
        with torch.enable_grad():
            x = x if x.requires_grad else x.detach().requires_grad_()
            return torch.autograd.grad(self.logp(x, sigma).sum(), x, create_graph=self.gain.requires_grad)[0]

    def forward(self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None) -> Tensor:
        """D(x; sigma) = x + sigma^2 grad_x log p(x; sigma) (2024b, Eq. 2): [N, D, 1, 1] to the same; labels are not used."""
        variance = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).reshape(-1, 1) ** 2
        points = x.flatten(1)
        return (points + variance * self.score(points, sigma)).reshape(x.shape)


class _MPSiLU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return mp_silu(x)
