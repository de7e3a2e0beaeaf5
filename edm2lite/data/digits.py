"""scikit-learn's handwritten digits: 1,797 grey images of 8x8 pixels in 10 classes, bundled with the library."""

import numpy as np

from edm2lite.data.images import ImageArrays


def load_digits() -> ImageArrays:
    """All digits as uint8 [1797, 1, 8, 8]: the library's 17 grey levels spread over 0..255.

    The encoder divides by 192, which brings the standard deviation (96 grey levels) to EDM2's sigma_data of 0.5.
    """
    from sklearn import datasets

    raw = datasets.load_digits()
    images = np.round(raw.images * (255 / 16)).astype(np.uint8)[:, None]
    return ImageArrays("digits", images, raw.target.astype(np.int64), 10, {"name": "rgb", "scale": 192.0})
