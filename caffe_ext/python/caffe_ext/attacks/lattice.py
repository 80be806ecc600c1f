"""x(t), the images, all uint8, along a direction from an image.

    x(t) = clip(round(x + t u), 0, 255)        u = direction / max |direction|,  t >= 0

t, the step length, is in grey levels: the change of the pixel that changes most, so Linf unless
that pixel is clipped. All x(t) are points of the integer lattice: what is adversarial stays so when
it is saved as an image.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caffe_ext.runtime import native

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]
StepLengths = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rays:
    """In which directions N images go, and how far they can.

    units   float32 (N, C, H, W), u; 0 where there is no direction
    limits  float64 (N,), whole numbers: the step length from which x(t) no longer changes, max over
            the pixels with u != 0 of the distance to 255 (u > 0) or to 0 (u < 0), over |u|
    """

    units: Floats
    limits: StepLengths


def make_rays(images: Images, directions: Floats) -> Rays:
    """Return the rays from images along directions of any length, both (N, C, H, W).

    Raises ValueError for arrays that do not fit, and for directions that are not finite.
    """
    images, directions = _make_contiguous(images, directions)
    if not np.isfinite(directions).all():
        raise ValueError("directions must be finite numbers; 0 where there is none")
    return Rays(*native.normalize_directions(images, directions))


def compute_directional_derivatives(
    images: Images, directions: Floats, gradients: Floats
) -> NDArray[np.float64]:
    """Return how fast a function of the pixels rises at t = 0, per grey level, float64 (N,):

        sum g_i u_i over the pixels that can move: below 255 where u > 0, above 0 where u < 0

    gradients  g, float32 (N, C, H, W)

    Raises ValueError for arrays that do not fit.
    """
    images, directions = _make_contiguous(images, directions)
    images, gradients = _make_contiguous(images, gradients)
    return native.compute_directional_derivatives(images, directions, gradients)


def step_along(
    images: Images,
    units: Floats,
    step_lengths: NDArray[np.floating],
    which: NDArray[np.int64] | None = None,
) -> Images:
    """Return x(t), uint8 (n, C, H, W), for one step length t >= 0 per image, (n,).

    images, units  (N, C, H, W)
    which          int64 (n,), the images that the step lengths belong to; None: all, n = N

    round() is to the nearest whole number, halves to the even one. Raises ValueError for arrays
    that do not fit.
    """
    images, units = _make_contiguous(images, units)
    lengths = np.ascontiguousarray(step_lengths, np.float64)
    which = np.ascontiguousarray(np.arange(len(images)) if which is None else which, np.int64)
    if lengths.shape != which.shape:
        raise ValueError(f"{lengths.shape} step_lengths for {which.shape} of the images do not fit")
    if len(which) and not (which.min() >= 0 and which.max() < len(images)):
        raise ValueError(
            f"image numbers {which.min()} to {which.max()} are not within 0..{len(images) - 1}"
        )
    return native.perturb(images, units, which, lengths)


def find_next_step_lengths(images: Images, units: Floats, step_lengths: StepLengths) -> StepLengths:
    """Return the next whole step lengths, float64 (N,), at which x(t) is another image:

        min ceil((|x_i(t) - x_i| + 1/2) / |u_i|) over the pixels that can still move

    NaN where no pixel can. It may be one too small, where a half is rounded down.

    images, units  (N, C, H, W)
    step_lengths   t, float64 (N,)
    """
    points = step_along(images, units, step_lengths)
    moved = np.abs(points.astype(np.float64) - images)
    movable = np.where(units > 0, points < 255, points > 0) & (units != 0)
    turns = np.full(images.shape, np.inf)
    np.divide(moved + 0.5, np.abs(units, dtype=np.float64), out=turns, where=movable)
    # Beyond 2^53 the next number is not t + 1.
    least = np.maximum(step_lengths + 1, np.nextafter(step_lengths, np.inf))
    turns = np.maximum(np.ceil(turns.min(axis=(1, 2, 3), initial=np.inf)), least)
    return np.asarray(np.where(np.isinf(turns), np.nan, turns))


def _make_contiguous(images: Images, values: Floats) -> tuple[Images, Floats]:
    """Return arrays for the kernels; ValueError unless there is a value for each pixel."""
    if values.shape != images.shape:
        raise ValueError(f"{images.shape} images and {values.shape} directions do not fit")
    return np.ascontiguousarray(images, np.uint8), np.ascontiguousarray(values, np.float32)
