"""The training loss of denoisers (Karras et al. 2024a, Eq. 14 and 21)."""

from torch import Tensor

from edm2lite.network.denoiser import Denoiser


def noise_levels(normals: Tensor, P_mean: float, P_std: float) -> Tensor:
    """sigma = exp(P_mean + P_std n) for unit normals n: log-normal noise levels, any shape."""
    return (normals * P_std + P_mean).exp()


def weighted_loss(
    denoiser: Denoiser, images: Tensor, labels: Tensor | None, sigma: Tensor, noise: Tensor,
    dropout: tuple[float, Tensor] | None = None,
) -> Tensor:  # fmt: skip
    """Loss of every element: lambda(sigma) / exp(u(sigma)) (D(y + n; sigma) - y)^2 + u(sigma).

    Args:
        denoiser: Network under training.
        images: Clean images y in data units, [B, C, H, W].
        labels: Classes, int64 [B], or None.
        sigma: Noise levels, [B].
        noise: Unit normal noise, [B, C, H, W]; n = sigma * noise.
        dropout: Probability and keys; see `Denoiser.forward`.

    Returns:
        [B, C, H, W]; the paper's loss is its sum over the elements of an image, averaged over the batch.
    """
    s = sigma.reshape(-1, 1, 1, 1)
    weight = (s**2 + denoiser.sigma_data**2) / (s * denoiser.sigma_data) ** 2
    denoised = denoiser(images + s * noise, sigma, labels, dropout)
    logvar = denoiser.logvar(sigma)
    return weight / logvar.exp() * (denoised - images) ** 2 + logvar
