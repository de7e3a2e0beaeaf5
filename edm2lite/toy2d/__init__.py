"""The 2D example of Karras et al. 2024b (arXiv 2406.02507, Appendix C): two classes whose density is known exactly."""

from typing import TYPE_CHECKING

from edm2lite.lazy import lazy

_EXPORTS = {"GroundTruth": "edm2lite.toy2d.truth", "ground_truth": "edm2lite.toy2d.truth"}
__all__ = sorted(_EXPORTS)  # noqa: PLE0605 - a list at run time

if TYPE_CHECKING:
    from edm2lite.toy2d.truth import GroundTruth, ground_truth

__getattr__, __dir__ = lazy(__name__, _EXPORTS)
