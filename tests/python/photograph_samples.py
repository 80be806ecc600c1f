"""Parts of the photographs that come with scikit-learn, small and grey."""

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images


def photograph_parts(count: int, side: int) -> NDArray[np.uint8]:
    """Return squares of various sizes, shrunk to side x side pixels: uint8 (count, side, side)."""
    random = np.random.default_rng(1)
    photographs = [cv2.cvtColor(one, cv2.COLOR_RGB2GRAY) for one in load_sample_images().images]
    parts = []
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        size = int(random.integers(64, 400))
        top, left = (int(random.integers(0, n - size + 1)) for n in photograph.shape)
        part = photograph[top : top + size, left : left + size]
        parts.append(cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA))
    return np.array(parts, np.uint8)
