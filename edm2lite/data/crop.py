"""ADM's centre crop (Dhariwal and Nichol 2021, arXiv 2105.05233), the preprocessing of every published ImageNet model."""

import numpy as np

from edm2lite.errors import UserError


def center_crop(image: np.ndarray, size: int) -> np.ndarray:
    """Square crop of the centre: halve with a box filter while possible, then bicubic so that the short side fits.

    Args:
        image: uint8, [H, W, C].
        size: Height and width of the result, in pixels.

    Returns:
        uint8, [size, size, C].
    """
    from PIL import Image

    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3:
        raise UserError(f"center_crop got {image.dtype} {list(image.shape)}; it takes uint8 [H, W, C]")
    picture = Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
    while min(picture.size) >= 2 * size:
        picture = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BOX)
    scale = size / min(picture.size)
    picture = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC)
    x, y = (picture.width - size) // 2, (picture.height - size) // 2
    return np.asarray(picture.crop((x, y, x + size, y + size))).reshape(size, size, image.shape[2])
