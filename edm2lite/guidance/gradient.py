"""Guidance by the gradient of any differentiable function of the denoised image, such as CLIP's similarity to a text."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from edm2lite.config import GradientConfig
from edm2lite.errors import UserError
from edm2lite.guidance.wrapper import Denoise, Wrapper
from edm2lite.plugins import find_named

Function = Callable[..., Tensor]  # function(denoised [B,C,H,W], sigma, labels) -> [B], the higher the better


class GradientGuided(Wrapper):
    """The denoiser D + scale sigma^2 grad f(D); see `gradient_guided`."""

    def __init__(self, inner: Denoise, function: Function, scale: float, through: str):
        super().__init__(inner)
        self.function, self.scale, self.through = function, scale, through

    def __call__(self, x: Tensor, sigma: Tensor | float, labels: Tensor | None = None) -> Tensor:
        if self.through == "network":
            with torch.enable_grad():
                at = x.detach().requires_grad_()
                denoised = self.inner(at, sigma, labels)
                gradient = self._gradient(denoised, sigma, labels, at)
        else:
            at = denoised = self.inner(x, sigma, labels).detach().requires_grad_()
            with torch.enable_grad():
                gradient = self._gradient(denoised, sigma, labels, at)
        variance = torch.as_tensor(sigma, dtype=gradient.dtype, device=gradient.device).reshape(-1, 1, 1, 1) ** 2
        return denoised.detach() + (self.scale * variance * gradient).to(denoised.dtype)

    def _gradient(self, denoised: Tensor, sigma: Tensor | float, labels: Tensor | None, at: Tensor) -> Tensor:
        """Of the function with respect to `at`; a sample's value depends on that sample alone, so the sum serves all."""
        values = self.function(denoised, sigma, labels)
        if values.shape != denoised.shape[:1]:
            raise UserError(
                f"the function of guidance.gradient returns shape {list(values.shape)} for {len(denoised)} images; "
                f"it must return one value an image, [{len(denoised)}]"
            )
        if not values.requires_grad:
            raise UserError(
                "the function of guidance.gradient returns values without a gradient; "
                "compute them from the denoised images by differentiable operations of torch"
            )
        return torch.autograd.grad(values.sum(), at)[0]


def gradient_guided(denoise: Denoise, function: Function, scale: float, through: str = "network") -> Denoise:
    """The denoiser D + scale sigma^2 grad f(D(x; sigma)).

    As with a classifier, scale f stands in for log p(wish | x; sigma). What a classifier inside of `denoise` adds counts as
    constant: no second derivatives are taken.

    Args:
        denoise: Denoiser.
        function: `function(denoised, sigma, labels)` -> [B], the values to be raised; of each image by itself.
        scale: 0: the denoiser itself, and the function is never run.
        through: "network": the gradient is taken with respect to x, through the denoiser; "denoised": with respect to D.
    """
    return denoise if scale == 0 else GradientGuided(denoise, function, scale, through)


def make_function(spec: GradientConfig, to_pixels: Callable[[Tensor], Tensor], device: torch.device | str) -> Function:
    """The function that a configuration names, "module:name", made by calling it with the arguments there.

    A function with weights has its network, a torch.nn.Module, as its attribute `module`: manifests and ledgers hold the hash
    of all that is in there.

    Args:
        spec: Name and arguments.
        to_pixels: Handed on as a keyword: from denoised images to pixels [B, channels, H, W] in [0, 1], differentiable.
        device: Handed on as a keyword: where the images will be.

    Raises:
        UserError: If there is no such module or name, or it does not take these arguments (a TypeError or ValueError).
    """
    make = find_named("guidance.gradient.function", str(spec.function), "edm2lite.guidance.clip:clip_similarity")
    arguments: dict[str, Any] = {**spec.arguments, "to_pixels": to_pixels, "device": device}
    try:
        inspect.signature(make).bind(**arguments)
        return make(**arguments)
    except UserError:
        raise
    except (TypeError, ValueError) as e:
        raise UserError(
            f"guidance.gradient.function {spec.function} cannot be called with {', '.join(arguments)}: {e}; "
            "it must take guidance.gradient.arguments, and the keywords to_pixels and device"
        ) from e
