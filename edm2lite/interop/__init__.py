"""Our models elsewhere, and our guidance in others' pipelines: diffusers and the Hugging Face hub.

`EDM2Pipeline` needs diffusers, which is imported when it is first used.
"""

from typing import TYPE_CHECKING

from edm2lite.lazy import lazy

_EXPORTS = {
    "EDM2Pipeline": "edm2lite.interop.pipeline",
    "EDM2UNet": "edm2lite.interop.unet",
    "EDMHeunScheduler": "edm2lite.interop.scheduler",
    "autoguide": "edm2lite.interop.guided_unet",
    "unguide": "edm2lite.interop.guided_unet",
}
__all__ = sorted(_EXPORTS)  # noqa: PLE0605 - a list at run time

if TYPE_CHECKING:
    from edm2lite.interop.guided_unet import autoguide, unguide
    from edm2lite.interop.pipeline import EDM2Pipeline
    from edm2lite.interop.scheduler import EDMHeunScheduler
    from edm2lite.interop.unet import EDM2UNet

__getattr__, __dir__ = lazy(__name__, _EXPORTS)
