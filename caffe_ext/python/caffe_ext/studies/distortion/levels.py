"""How strong noise must be for a given distortion: Eq. 2 of the paper, solved for the strength.

    x' = clip(x + e s)        gradient sign noise, s the signs, e in grey levels
    x' = clip(x + e z)        Gaussian noise, z from N(0, 1), e the standard deviation

    d(e) = mean |x' - x| / 255     over all pixels of all images, 0..1

clip() is to 0..255. With room r = 255 - x for noise upwards, r = x for noise downwards, and 0 for
s = 0, |x' - x| is min(e, r) for gradient sign noise: d is linear between whole grey levels. For
Gaussian noise, the expectation of d over z is solved: with phi and Q the density and the upper tail
of N(0, 1),

    E min(e max(z, 0), r) = e (phi(0) - phi(r / e)) + r Q(r / e)
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from caffe_ext.metrics.distances import FULL_SCALE
from caffe_ext.models.base import Images

Doubles = NDArray[np.float64]
LARGEST = 0.25
"""Distortions are below it, in equal steps from 0."""
_GREYS = np.arange(FULL_SCALE + 1)
_STRONGEST = 100.0 * FULL_SCALE


def list_distortions(count: int) -> Doubles:
    """Return distortions, float64 (count,): 0 and equal steps, the next one would be LARGEST."""
    return LARGEST * np.arange(count) / count


def find_sign_strengths(images: Images, signs: NDArray[Any], distortions: Doubles) -> Doubles:
    """Return e in grey levels, 0..255, for each distortion d, of gradient sign noise.

    images  uint8, of any shape
    signs   -1, 0 or 1, of the same shape

    255 for a distortion that cannot be reached.
    """
    if images.shape != signs.shape:
        raise ValueError(f"there are images {images.shape} and signs {signs.shape}")
    up, down = (np.bincount(images[signs == sign], minlength=256) for sign in (1, -1))
    rooms = up[::-1] + down
    # Of the pixels with more room than e, each changes by e: the sum grows by their number.
    more = rooms.sum() - np.cumsum(rooms)
    sums = np.concatenate([[0], np.cumsum(more[:-1])])
    # Beyond the largest room, nothing grows any more.
    reached = np.concatenate([[True], np.diff(sums) > 0])
    found = np.interp(
        distortions * FULL_SCALE * images.size,
        sums[reached],
        _GREYS[reached],
        right=FULL_SCALE,
    )
    return np.asarray(found, np.float64)


def find_gaussian_strengths(images: Images, distortions: Doubles) -> Doubles:
    """Return e in grey levels for each distortion d, of Gaussian noise, in expectation over z.

    Raises ValueError for a distortion that no noise reaches: half of the grey levels and more.
    """
    shares = np.bincount(images.ravel(), minlength=256) / images.size

    def compute_excess(strength: float, distortion: float) -> float:
        upwards = _compute_expected_change(strength, FULL_SCALE - _GREYS)
        both = upwards + _compute_expected_change(strength, _GREYS)
        return float(shares @ both) / FULL_SCALE - distortion

    found = np.zeros(len(distortions))
    for number, distortion in enumerate(distortions.tolist()):
        if distortion == 0:
            continue
        if compute_excess(_STRONGEST, distortion) < 0:
            raise ValueError(f"no Gaussian noise distorts these images by {distortion:g}")
        found[number] = optimize.brentq(compute_excess, 1e-9, _STRONGEST, (distortion,))
    return found


def _compute_expected_change(strength: float, rooms: NDArray[Any]) -> Doubles:
    """Return E min(e max(z, 0), r) for e and each r."""
    ends = rooms / strength
    density = stats.norm.pdf(0) - stats.norm.pdf(ends)
    return np.asarray(strength * density + rooms * stats.norm.sf(ends), np.float64)
