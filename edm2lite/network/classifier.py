"""A classifier of noisy images, p(c | x; sigma), for classifier guidance (Dhariwal and Nichol 2021, arXiv 2105.05233)."""

import torch
from torch import Tensor, nn

from edm2lite.config import NetworkConfig
from edm2lite.errors import UserError
from edm2lite.network.denoiser import Denoiser, scalings
from edm2lite.network.dropout import Dropout
from edm2lite.network.layers import MPConv, mp_silu, normalize
from edm2lite.network.unet import Encoder


class RowLinear(MPConv):
    """A linear layer that sums every row by itself: in BLAS the last bits depend on a row's place in the batch.

    So a sample guided by a classifier is the same to the bit in any place. It takes [B, out, in] numbers of memory.
    """

    def forward(self, x: Tensor, gain: Tensor | float = 1.0) -> Tensor:
        return (x[:, None] * self.scaled_weight(x.dtype, gain)).sum(dim=-1)


class Classifier(Encoder):
    """The encoder half of the UNet, without labels; then the mean over all pixels and a linear layer with a learned gain.

    Input and embedding are those of the denoiser: c_in x and ln(sigma) / 4.

    Args:
        img_resolution: Height and width of the (latent) images, in pixels.
        img_channels: Their channels.
        label_dim: Number of classes, at least 2.
        network: Everything else about the architecture; what concerns the decoder and the label is not used.
        compute_dtype: dtype of the activations. Weights are stored in float32 and cast at use.

    Raises:
        UserError: If there are fewer than two classes, or the images cannot be halved as often as there are levels.
    """

    def __init__(
        self, img_resolution: int, img_channels: int, label_dim: int, network: NetworkConfig,
        compute_dtype: torch.dtype = torch.float32,
    ):  # fmt: skip
        if label_dim < 2:
            raise UserError(
                f"a classifier needs labels, but the data have {label_dim} classes; train it on data with at least 2"
            )
        super().__init__(network, img_resolution, img_channels, 0)
        self.img_resolution, self.img_channels, self.label_dim = img_resolution, img_channels, label_dim
        self.network, self.compute_dtype = network, compute_dtype
        self.sigma_data = network.sigma_data
        self.out_gain = nn.Parameter(torch.zeros(1))
        self.out_linear = RowLinear(self.widths[-1] + 1, label_dim, ())

    def forward(self, x: Tensor, sigma: Tensor | float, dropout: tuple[float, Tensor] | None = None) -> Tensor:
        """Classify.

        Args:
            x: Noisy images in data units, [B, C, H, W].
            sigma: Noise level, scalar or [B], positive.
            dropout: Probability, and the keys of the masks, int64 [B]; None: no dropout.

        Returns:
            Logits, float32 [B, label_dim]; their softmax is p(c | x; sigma).
        """
        x = x.to(torch.float32)
        sigma = torch.as_tensor(sigma, dtype=torch.float32, device=x.device).reshape(-1).expand(x.shape[0])
        c = scalings(sigma, self.sigma_data)
        features = self._features((c.in_ * x).to(self.compute_dtype), c.noise, dropout and Dropout(*dropout))
        return self.out_linear(features, gain=self.out_gain)

    def _features(self, x: Tensor, c_noise: Tensor, dropout: Dropout | None) -> Tensor:
        """Scaled images to float32 [B, width + 1] of unit magnitude, the last a constant that stands in for biases."""
        x = self.encode(x, self.embed(c_noise, None, x.dtype), dropout)[-1]
        pooled = normalize(mp_silu(x).float().mean(dim=(2, 3)))
        return torch.cat([pooled, torch.ones_like(pooled[:, :1])], dim=1)


Network = Denoiser | Classifier
