"""The images on which a converted model is compared with the original."""

import numpy as np
from numpy.typing import NDArray


def check_images(shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return noise at two contrasts, black, white and a ramp, (5, C, H, W)."""
    random = np.random.default_rng(0)
    noise = [random.integers(low, high, shape, np.uint8) for low, high in ((0, 256), (96, 160))]
    ramp = np.broadcast_to(np.linspace(0, 255, shape[2]).astype(np.uint8), shape)
    return np.stack([*noise, np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8), ramp])
