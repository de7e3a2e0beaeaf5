"""Guidance by a classifier of noisy images (Dhariwal and Nichol 2021, arXiv 2105.05233)."""

from collections.abc import Callable

import torch
from torch import Tensor

from edm2lite.errors import UserError
from edm2lite.guidance.wrapper import Denoise, Wrapper

Classify = Callable[..., Tensor]  # classifier(x [B,C,H,W], sigma) -> logits [B, classes]


class ClassifierGuided(Wrapper):
    """The denoiser D + scale sigma^2 grad_x log p(c | x; sigma); see `classifier_guided`."""

    def __init__(self, inner: Denoise, classifier: Classify, scale: float):
        super().__init__(inner)
        self.classifier, self.scale = classifier, scale

    def __call__(self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None) -> Tensor:
        if labels is None:
            raise UserError(
                "classifier guidance needs labels, but none are given; give each sample the class it is led to"
            )
        denoised = self.inner(x, sigma, labels)
        gradient = log_likelihood_gradient(self.classifier, x, sigma, labels)
        variance = torch.as_tensor(sigma, dtype=gradient.dtype, device=gradient.device).reshape(-1, 1, 1, 1) ** 2
        return denoised + (self.scale * variance * gradient).to(denoised.dtype)


def classifier_guided(denoise: Denoise, classifier: Classify, scale: float) -> Denoise:
    """The denoiser D + scale sigma^2 grad_x log p(c | x; sigma).

    By Bayes' rule its score is that of p(x; sigma) p(c | x; sigma)^scale: with an unconditional denoiser and scale 1, that of
    the images of the class.

    Args:
        denoise: Denoiser, with or without labels of its own.
        classifier: `classifier(x, sigma) -> logits` [B, classes].
        scale: 0: the denoiser itself, and the classifier is never run.
    """
    return denoise if scale == 0 else ClassifierGuided(denoise, classifier, scale)


def log_likelihood_gradient(classifier: Classify, x: Tensor, sigma: Tensor | float, labels: Tensor) -> Tensor:
    """grad_x log p(c | x; sigma), of each sample by itself: [B, C, H, W] and int64 [B] -> [B, C, H, W]."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        log_p = classifier(x, sigma).log_softmax(dim=1)
        return torch.autograd.grad(log_p.gather(1, labels[:, None]).sum(), x)[0]
