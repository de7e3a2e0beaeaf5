"""The proof that features in half precision leave the Frechet distance of the images at hand as it is. Imports no torch."""

import math
from dataclasses import dataclass

from edm2lite.errors import UserError

IMAGES = 2048  # on which features are computed in both precisions
LIMIT = 1e-3  # relative change of the distance


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Frechet distances of the same images from the same reference, by features in both precisions.

    The reference is of float32 features in both cases: so one reference serves all precisions, published ones among them, and
    what is proven is just what is done.

    Attributes:
        detector: Its title.
        precision: Of the half precision features.
        images: How many.
        fp32, half: The distances.
    """

    detector: str
    precision: str
    images: int
    fp32: float
    half: float

    def change(self, *scores: float) -> float:
        """Of the distance, relative to it; or to the smallest of the scores that are to be trusted, where one is smaller.

        The change hardly depends on the number of images, but the distance falls with it: what is little of 2048 images' can be
        much of 50000's.
        """
        apart, least = abs(self.half - self.fp32), min((self.fp32, *scores))
        if not all(map(math.isfinite, (apart, *scores))):
            return math.inf
        return apart / least if least else float(apart > 0)

    def check(self, *scores: float) -> None:
        """Raise a UserError unless the change is at most LIMIT; that of a distance of infinity or NaN is not."""
        if not self.change(*scores) <= LIMIT:
            raise UserError(f"{self.line(*scores)}; at most {LIMIT:g} is allowed: use --detector_precision fp32")

    def line(self, *scores: float) -> str:
        """For people."""
        return (
            f"{self.precision} features of {self.detector} change the Frechet distance of the first {self.images} images from "
            f"{self.fp32:.6g} to {self.half:.6g}, by {self.change(*scores):.1e} of {min((self.fp32, *scores)):.6g}"
        )
