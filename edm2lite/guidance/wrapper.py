"""What guidance is made of: denoisers around a denoiser."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

Denoise = Callable[..., Tensor]  # denoise(x, sigma, labels=None) -> denoised; see Denoiser.forward


class Wrapper:
    """A denoiser made from another; what it does not say itself (img_resolution, label_dim, ...) it takes from `inner`."""

    def __init__(self, inner: Denoise):
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        if name == "inner" or name.startswith("__"):  # not there yet, while unpickling or copying
            raise AttributeError(name)
        return getattr(self.inner, name)
