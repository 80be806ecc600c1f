"""Distances of images to their perturbed counterparts: L0, L1, L2, Linf, mean absolute distortion.

Images are uint8, 0..255, so a difference is in grey levels. All sums are sums of integers, exact.
PASS, which looks at structure instead, is in pass_score.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FULL_SCALE = 255
# Bounds the temporary arrays; a batch of any size needs no more than its distances besides.
_VALUES_AT_A_TIME = 1 << 22


@dataclass(frozen=True, eq=False)
class Distances:
    """Distances of N pairs of images x and x~; with d = x~ - x, m = C H W values per image:

    l0              int64    pixels changed, of H W: those with d != 0 in any channel
    l1              int64    sum |d|                          grey levels
    l2              float64  sqrt(sum d^2)                    grey levels
    l2_per_pixel    float64  sqrt(sum d^2 / m)                grey levels, 0..255
    linf            int64    max |d|                          grey levels, 0..255
    mean_absolute   float64  sum |d| / (255 m)                share of the full scale, 0..1

    All have the shape (N,).

    l2_per_pixel is shown beside PASS and Linf in Figures 2 and 3 of Rozsa, Rudd and Boult,
    2016 ("L2 norm per pixel"). The paper gives no formula; this is the root mean square over its
    "m-pixel image", the distortion of Szegedy et al., 2014, on which it builds.

    mean_absolute is Eq. 2 of Ulicny et al., 2016, whose images lie in (0, 1), for single images;
    the "average distortion per pixel" of a whole set, `dist`, is mean_absolute.mean(). FGS at
    epsilon, where nothing is clipped, has dist = epsilon.
    """

    l0: NDArray[np.int64]
    l1: NDArray[np.int64]
    l2: NDArray[np.float64]
    l2_per_pixel: NDArray[np.float64]
    linf: NDArray[np.int64]
    mean_absolute: NDArray[np.float64]

    def __len__(self) -> int:
        """Count the pairs."""
        return len(self.l0)


def compute_distances(adversarials: NDArray[np.uint8], originals: NDArray[np.uint8]) -> Distances:
    """Return the distances of pairs of images.

    Both are uint8 of one shape: (N, C, H, W), or one pair, (C, H, W) or (H, W), as N = 1. They are
    only read. All distances are symmetric.
    Raises TypeError for another dtype, ValueError for another shape or images without pixels.
    """
    adversarials, originals = as_pairs(adversarials, originals)
    count, values = len(originals), originals[0].size if len(originals) else 1
    l0, l1, squares, linf = np.zeros((4, count), np.int64)
    for part in split_into_slices(count, values, _VALUES_AT_A_TIME):
        # |d| fits into uint8 and its square into uint16: no wrap-around, and little memory.
        a, b = adversarials[part], originals[part]
        size = np.maximum(a, b) - np.minimum(a, b)
        l0[part] = np.count_nonzero(size.any(axis=1), axis=(1, 2))
        l1[part] = size.sum(axis=(1, 2, 3), dtype=np.int64)
        squares[part] = np.square(size, dtype=np.uint16).sum(axis=(1, 2, 3), dtype=np.int64)
        linf[part] = size.max(axis=(1, 2, 3))
    return Distances(
        l0=l0,
        l1=l1,
        l2=np.sqrt(squares),
        l2_per_pixel=np.sqrt(squares / values),
        linf=linf,
        mean_absolute=l1 / (FULL_SCALE * values),
    )


def as_pairs(
    adversarials: NDArray[np.uint8], originals: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return views of both batches as (N, C, H, W).

    Raises TypeError and ValueError as compute_distances() does.
    """
    batches = []
    for name, images in (("adversarials", adversarials), ("originals", originals)):
        if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
            kind = images.dtype if isinstance(images, np.ndarray) else type(images).__name__
            raise TypeError(f"{name} must be an array of uint8, 0..255, not {kind}")
        if not 2 <= images.ndim <= 4 or 0 in images.shape[-3:]:
            raise ValueError(
                f"{name} must be (N, C, H, W), or one image (C, H, W) or (H, W), with at least "
                f"one pixel, not {images.shape}"
            )
        batches.append(images.reshape((1,) * (4 - images.ndim) + images.shape))
    if adversarials.shape != originals.shape:
        raise ValueError(
            f"adversarials {adversarials.shape} and originals {originals.shape} must have the "
            "same shape: they are compared pair by pair"
        )
    return batches[0], batches[1]


def split_into_slices(count: int, values: int, at_a_time: int) -> Iterator[slice]:
    """Split `count` images of `values` values each into parts of at most `at_a_time` values.

    A part has at least one image.
    """
    step = max(1, at_a_time // values)
    return (slice(start, start + step) for start in range(0, count, step))
