"""CLIP's similarity of an image to a text, as a function for gradient guidance (extra: clip).

In a configuration: function: edm2lite.guidance.clip:clip_similarity, arguments: {prompt: a photo of a lighthouse}.
"""

import pickle
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor

from edm2lite.errors import UserError

_PROBLEMS = (RuntimeError, OSError, ValueError, EOFError, pickle.UnpicklingError, SafetensorError)


def clip_similarity(
    prompt: str, model: str = "ViT-B-32", pretrained: str = "laion2b_s34b_b79k", *,
    to_pixels: Callable[[Tensor], Tensor], device: torch.device | str,
) -> "ClipSimilarity":  # fmt: skip
    """The function (denoised, sigma, labels) -> cosine of the angle between CLIP's embeddings of image and text, [B].

    Args:
        prompt: The text.
        model: Architecture, by open_clip's name.
        pretrained: Its weights: open_clip's name of them (downloaded once), or a file.
        to_pixels: From denoised images to pixels [B, 1 or 3, H, W] in [0, 1]; grey ones are repeated.
        device: Where the images will be.

    Raises:
        UserError: If open_clip is not installed, or has no such model or weights.
    """
    clip, text = _load(model, pretrained, prompt, device)
    return ClipSimilarity(clip, text, to_pixels, device)


class ClipSimilarity:
    """See `clip_similarity`."""

    def __init__(self, clip: Any, text: Tensor, to_pixels: Callable[[Tensor], Tensor], device: torch.device | str):
        self.module, self.text, self.to_pixels = clip, text, to_pixels
        self.preprocess = Preprocess(clip.visual, device)

    def __call__(self, denoised: Tensor, sigma: Tensor | float, labels: Tensor | None = None) -> Tensor:
        pixels = self.preprocess(self.to_pixels(denoised))
        return F.normalize(self.module.encode_image(pixels), dim=-1) @ self.text


class Preprocess:
    """Pixels [B, 1 or 3, H, W] in [0, 1] to CLIP's input [B, 3, size, size]; differentiable.

    Args:
        visual: Image tower of an open_clip model.
        device: Of the images.
    """

    def __init__(self, visual: Any, device: torch.device | str):
        size = visual.image_size
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.mean, self.std = (
            torch.tensor(n, device=device).reshape(1, 3, 1, 1) for n in (visual.image_mean, visual.image_std)
        )

    def __call__(self, pixels: Tensor) -> Tensor:
        x = F.interpolate(pixels.expand(-1, 3, -1, -1), self.size, mode="bicubic", antialias=True)
        return (x - self.mean) / self.std


def _load(model: str, pretrained: str, prompt: str, device: torch.device | str) -> tuple[Any, Tensor]:
    """The frozen model in float32, and the normalised embedding of the prompt, [D]."""
    try:
        import open_clip
    except ImportError as e:
        raise UserError("CLIP needs open_clip: pip install 'edm2lite[clip]'") from e
    if model not in open_clip.list_models():
        raise UserError(f"open_clip has no model {model}; python -c 'import open_clip; print(open_clip.list_models())'")
    try:
        clip = open_clip.create_model(model, pretrained=pretrained, device=device).eval().requires_grad_(False)
        tokens = open_clip.get_tokenizer(model)([prompt]).to(device)
    except _PROBLEMS as e:
        what = str(e).strip().split("\n")[0].split(". ")[0][:150]
        raise UserError(
            f"CLIP {model} with weights {pretrained} cannot be loaded ({what}); give pretrained a file of weights, or one of "
            f"the names {', '.join(open_clip.list_pretrained_tags_by_model(model)) or '(none)'}"
        ) from e
    with torch.no_grad():
        return clip, F.normalize(clip.encode_text(tokens), dim=-1)[0]
