"""Alignment of grey images by the homography that maximises their enhanced correlation coefficient.

    rho(p) = <T - mean(T), I_p - mean(I_p)> / (|T - mean(T)| |I_p - mean(I_p)|)

of a template T and an image I that the homography p moves, I_p(x) = I(p x): Evangelidis and
Psarakis, "Parametric Image Alignment Using Enhanced Correlation Coefficient Maximization", PAMI
2008. caffe_ext/kernels/ecc/ecc.hpp has the iteration. On x86-64 the results are those of OpenCV 4.14's
findTransformECC and warpPerspective on the same processor, to the last bit.
"""

import numpy as np
from numpy.typing import NDArray

from caffe_ext.runtime.native import call

Images = NDArray[np.uint8]
Homographies = NDArray[np.float32]

LONGEST_SIDE = 32_766


def ecc_homographies(
    images: Images, templates: Images, *, iterations: int, epsilon: float
) -> tuple[Homographies, NDArray[np.bool_]]:
    """Return for each pair where in the image the template's pixels lie, and which pairs failed.

    images, templates  uint8 (N, H, W), only read
    iterations         at most, from the identity on
    epsilon            until rho changes by less

    The homographies are float32 (N, 3, 3) and take (x, y, 1) of the template, in pixels, to that
    of the image. A pair fails, bool (N,), where rho is not a number, as for a flat image, or is
    about to become smaller, as for unrelated images: its homography is the identity. No pair
    depends on another. Works in the calling thread, without Python's lock.
    Raises ValueError for other shapes and for a side longer than LONGEST_SIDE, TypeError for
    another dtype.
    """
    images, templates = _grey(images), _grey(templates)
    if images.shape != templates.shape:
        raise ValueError(f"images and templates differ in shape: {images.shape, templates.shape}")
    homographies = np.empty((len(images), 3, 3), np.float32)
    failed = np.empty(len(images), np.bool_)
    call(
        "caffe_ext_ecc_homographies",
        images,
        templates,
        *images.shape,
        iterations,
        float(epsilon),
        homographies,
        failed,
    )
    return homographies, failed


def warp_images(images: Images, homographies: Homographies) -> Images:
    """Return the images as the homographies see them: pixel x is the image's at homography x.

    images         uint8 (N, C, H, W), only read; bilinear between pixels, 0 outside
    homographies   float32 (N, 3, 3)

    Raises ValueError for other shapes and for a side longer than LONGEST_SIDE, TypeError for
    another dtype.
    """
    if images.ndim != 4 or homographies.shape != (len(images), 3, 3):
        raise ValueError(f"not (N, C, H, W) and (N, 3, 3): {images.shape, homographies.shape}")
    images = _checked(images)
    homographies = np.ascontiguousarray(homographies, np.float32)
    warped = np.empty_like(images)
    call("caffe_ext_warp_images", images, *images.shape, homographies, warped)
    return warped


def _grey(images: Images) -> Images:
    if images.ndim != 3:
        raise ValueError(f"grey images have the shape (N, H, W), not {images.shape}")
    return _checked(images)


def _checked(images: Images) -> Images:
    height, width = images.shape[-2:]
    if not (1 <= height <= LONGEST_SIDE and 1 <= width <= LONGEST_SIDE):
        raise ValueError(f"images of {height} x {width} pixels: a side has 1 to {LONGEST_SIDE}")
    if images.dtype != np.uint8:
        raise TypeError(f"images must be uint8, not {images.dtype}")
    return np.ascontiguousarray(images)
