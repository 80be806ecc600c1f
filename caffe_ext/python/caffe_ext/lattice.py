"""x(t), the images that lie on the way of an image in a direction; uint8, all of them.

    x(t) = clip(round(x + t u), 0, 255)        u = direction / max |direction|,  t >= 0

t, the amplitude, is in grey levels: the change of the pixel that changes most, so Linf unless that
pixel is clipped. All x(t) are points of the integer lattice: nothing is adversarial there that
would not be so after it was saved as an image.
"""

import numpy as np
from numpy.typing import NDArray

from caffe_ext.native import call

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]
Amplitudes = NDArray[np.float64]


def unit(directions: Floats) -> Floats:
    """Return directions (N, C, H, W) scaled to max |u| = 1 an image; 0 stays 0."""
    largest = np.abs(directions).max(axis=(1, 2, 3), keepdims=True, initial=0).astype(np.float64)
    # In float64, as the reciprocal of what float32 can hold overflows float32.
    return np.asarray(directions / np.where(largest > 0, largest, 1), np.float32)


def perturbed(
    images: Images,
    units: Floats,
    amplitudes: NDArray[np.floating],
    which: NDArray[np.int64] | None = None,
) -> Images:
    """Return x(t), uint8 (n, C, H, W), for an amplitude t >= 0 an image (n,).

    images, units  (N, C, H, W)
    which          int64 (n,), the images that these amplitudes are of; None: of all, n = N

    round() is to the nearest whole number, halves to the even one. Raises ValueError for arrays
    that do not fit.
    """
    images, units = np.ascontiguousarray(images, np.uint8), np.ascontiguousarray(units, np.float32)
    amplitudes = np.ascontiguousarray(amplitudes, np.float64)
    which = np.ascontiguousarray(np.arange(len(images)) if which is None else which, np.int64)
    if units.shape != images.shape or amplitudes.shape != which.shape:
        raise ValueError(
            f"{images.shape} images, {units.shape} directions, and {amplitudes.shape} amplitudes "
            f"for {which.shape} of them do not fit"
        )
    if len(which) and not (which.min() >= 0 and which.max() < len(images)):
        raise ValueError(f"images {which.min()} to {which.max()} of {len(images)} are not there")
    points = np.empty((len(which), *images.shape[1:]), np.uint8)
    size = points[:1].size
    call("caffe_ext_perturb", images, units, which, amplitudes, len(which), size, points)
    return points


def saturation(images: Images, units: Floats) -> Amplitudes:
    """Return the amplitude from which on x(t) no longer changes, float64 (N,), whole numbers.

    max over the pixels with u != 0 of the way to 255 (u > 0) or to 0 (u < 0), over |u|
    """
    way = np.where(units > 0, 255 - images.astype(np.float64), images)
    amplitudes = np.divide(
        way, np.abs(units, dtype=np.float64), out=np.zeros_like(way), where=units != 0
    )
    return np.asarray(np.ceil(amplitudes.max(axis=(1, 2, 3), initial=0)))
