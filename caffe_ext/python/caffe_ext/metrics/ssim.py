"""SSIM, the structural similarity of two images (Wang, Bovik, Sheikh and Simoncelli, 2004).

    SSIM = mean over pixels of  (2 ux uy + C1) (2 sxy + C2) / ((ux^2 + uy^2 + C1) (sxx + syy + C2))

with Gaussian-weighted means u and covariances s (11x11, sigma 1.5, not the sample covariance),
C1 = (0.01 * 255)^2, C2 = (0.03 * 255)^2: scikit-image's structural_similarity with
gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, here for batches. The
SSIM of a colour image is the mean over its channels.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from caffe_ext.metrics.distances import as_pairs
from caffe_ext.runtime import native

Images = NDArray[np.uint8]

Average = Literal["inner", "all"]
"""The pixels that the mean is over: "inner", those whose whole window lies in the image, as in
scikit-image's mean; "all", with the image mirrored at its borders, as in its full map."""

SIGMA, RADIUS = 1.5, 5
WINDOW = 2 * RADIUS + 1
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_WEIGHTS = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / SIGMA) ** 2)
_WEIGHTS /= _WEIGHTS.sum()


def compute_ssim_scores(
    first: Images, second: Images, *, average: Average = "inner"
) -> NDArray[np.float64]:
    """Return the SSIM of pairs of images as they are, without alignment: float64 (N,).

    Both are uint8 of one shape: (N, C, H, W), or one pair, (C, H, W) or (H, W), as N = 1, with at
    least 11x11 pixels. They are only read, and each score depends on its own pair alone.
    Raises TypeError for another dtype, ValueError for another shape or an unknown `average`.
    """
    first, second = as_pairs(first, second)
    if average not in ("inner", "all"):
        raise ValueError(f'average must be "inner" or "all", not {average!r}')
    if min(first.shape[2:]) < WINDOW:
        height, width = first.shape[2:]
        raise ValueError(
            f"images of {height} x {width} pixels are smaller than SSIM's window, "
            f"{WINDOW} x {WINDOW}"
        )
    count, channels, height, width = first.shape
    # A channel is an image of its own here.
    planes = count * channels, height, width
    first, second = (np.ascontiguousarray(side).reshape(planes) for side in (first, second))
    scores = native.compute_ssim(first, second, _WEIGHTS, (C1, C2), inner=average == "inner")
    return np.asarray(scores.reshape(count, channels).mean(axis=1), np.float64)
