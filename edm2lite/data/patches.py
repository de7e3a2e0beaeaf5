"""Patches of scikit-learn's two bundled photographs: natural images in RGB with classes, without a download."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from edm2lite.data.images import ImageArrays

SIZE = 16
STRIDE = 4


def load_patches() -> ImageArrays:
    """16x16 crops, every 4 pixels, of both photographs at half size: uint8 [7700, 3, 16, 16].

    8 classes: photograph (temple, flower) times the quadrant that holds the centre of the crop.
    """
    from PIL import Image
    from sklearn import datasets

    images, labels = [], []
    for photo, pixels in enumerate(datasets.load_sample_images().images):
        picture = Image.fromarray(pixels)
        half = np.asarray(picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BOX))
        crops = sliding_window_view(half, (SIZE, SIZE), axis=(0, 1))[::STRIDE, ::STRIDE]
        rows, columns = crops.shape[:2]
        lower = (np.arange(rows) * STRIDE + SIZE // 2 >= half.shape[0] / 2)[:, None]
        right = (np.arange(columns) * STRIDE + SIZE // 2 >= half.shape[1] / 2)[None, :]
        images.append(crops.reshape(-1, 3, SIZE, SIZE))
        labels.append((4 * photo + 2 * lower + right).reshape(-1))
    encoder = {"name": "rgb", "scale": 168.0}  # their standard deviation is 84 grey levels
    return ImageArrays("patches", np.concatenate(images), np.concatenate(labels).astype(np.int64), 8, encoder)
