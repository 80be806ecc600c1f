"""Alignment of grey images by the homography that maximises their enhanced correlation coefficient.

    rho(p) = <T - mean(T), I_p - mean(I_p)> / (|T - mean(T)| |I_p - mean(I_p)|)

of a template T and an image I that the homography p moves, I_p(x) = I(p x): Evangelidis and
Psarakis, "Parametric Image Alignment Using Enhanced Correlation Coefficient Maximization", PAMI
2008. caffe_ext/kernels/ecc/ecc.hpp has the iteration. On x86-64 the results are those of OpenCV
4.14's findTransformECC and warpPerspective on the same processor, to the last bit.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caffe_ext.runtime import native

Images = NDArray[np.uint8]
Homographies = NDArray[np.float32]

LONGEST_SIDE = 32_766
IDENTITY: Homographies = np.eye(3, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Alignments:
    """What ECC has found for N pairs of an image and a template.

    homographies  float32 (N, 3, 3), take (x, y, 1) of the template, in pixels, to that of the
                  image; the identity where a pair failed
    correlations  float64 (N,), rho of the homographies
    at_identity   float64 (N,), rho of the images as they are; NaN for a flat image
    failed        bool (N,), where rho is not a number, as for a flat image, or would decrease, as
                  for unrelated images
    """

    homographies: Homographies
    correlations: NDArray[np.float64]
    at_identity: NDArray[np.float64]
    failed: NDArray[np.bool_]

    @property
    def worse(self) -> NDArray[np.bool_]:
        """Where the homography found correlates less than the identity, from which ECC started."""
        return ~self.failed & ~(self.correlations >= self.at_identity)

    def find_diverged(self, tolerance: float) -> NDArray[np.bool_]:
        """Where it is worse by more than the tolerance: ECC has lost the images."""
        return ~self.failed & ~(self.correlations >= self.at_identity - tolerance)


def estimate_homographies(
    images: Images, templates: Images, *, iterations: int, epsilon: float
) -> Alignments:
    """Return for each pair the position of the template's pixels in the image.

    images, templates  uint8 (N, H, W), only read
    iterations         at most, starting from the identity
    epsilon            stops when rho changes by less

    ECC stops when rho hardly changes, even if it is low: `worse` and `find_diverged` tell where the
    images correlate better without alignment. No pair depends on another. Works in the calling
    thread, without Python's lock.
    Raises ValueError for other shapes and for a side longer than LONGEST_SIDE, TypeError for
    another dtype.
    """
    images, templates = _to_grey(images), _to_grey(templates)
    if images.shape != templates.shape:
        raise ValueError(f"images and templates differ in shape: {images.shape, templates.shape}")
    homographies, correlations, failed = native.estimate_homographies(
        images, templates, iterations=iterations, epsilon=epsilon
    )
    return Alignments(homographies, correlations[:, 1], correlations[:, 0], failed)


def warp_images(images: Images, homographies: Homographies) -> Images:
    """Return the images as the homographies see them: pixel x is the image's at homography x.

    images         uint8 (N, C, H, W), only read; bilinear between pixels, 0 outside
    homographies   float32 (N, 3, 3)

    Raises ValueError for other shapes and for a side longer than LONGEST_SIDE, TypeError for
    another dtype.
    """
    if images.ndim != 4 or homographies.shape != (len(images), 3, 3):
        raise ValueError(f"not (N, C, H, W) and (N, 3, 3): {images.shape, homographies.shape}")
    images = _check_images(images)
    homographies = np.ascontiguousarray(homographies, np.float32)
    return native.warp_images(images, homographies)


def _to_grey(images: Images) -> Images:
    if images.ndim != 3:
        raise ValueError(f"grey images have the shape (N, H, W), not {images.shape}")
    return _check_images(images)


def _check_images(images: Images) -> Images:
    height, width = images.shape[-2:]
    if not (1 <= height <= LONGEST_SIDE and 1 <= width <= LONGEST_SIDE):
        raise ValueError(f"images of {height} x {width} pixels: a side has 1 to {LONGEST_SIDE}")
    if images.dtype != np.uint8:
        raise TypeError(f"images must be uint8, not {images.dtype}")
    return np.ascontiguousarray(images)
