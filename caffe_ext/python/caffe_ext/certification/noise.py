"""Gaussian noise in whole grey levels: exact, seeded, and the same on all machines.

A noisy image is x~ = clip(round(x + sigma z), 0, 255), z ~ N(0, 1) independently for each value. As
x is a whole number, that is clip(x + k, 0, 255) with a whole number k of the distribution

    P(k) = Phi((k + 1/2) / sigma) - Phi((k - 1/2) / sigma)

and anything beyond -255 or 255 is clipped whatever its size. So k is drawn from a table of 511
probabilities, in units of 2^-64, computed in decimal arithmetic of 60 digits: no machine's exp() or
log() plays a part. AddIntegerNoise() (C++) draws it from Philox4x32-10, with the seed as the key
and the numbers of image and sample in the counter.
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from caffe_ext.models.base import Images, Ints
from caffe_ext.runtime import native

_COLUMNS, _LOWEST = 512, -256
_UNITS = 2**64
_CAPACITY = _UNITS // _COLUMNS
_CONTEXT = Context(prec=60, rounding=ROUND_HALF_EVEN)
_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
# Beyond it, Phi is 0 or 1 to within far less than 2^-64.
_FAR = 14
MOST_SAMPLES = 2**32
"""Numbers of samples are below this."""


@dataclass(frozen=True, eq=False)
class NoiseTable:
    """A distribution of k = -256..255 for Walker's alias method, as in C++.

    Column c gives k = c - 256 with the probability thresholds[c] / 2^55, else aliases[c].

    thresholds  uint64 (512,)
    aliases     int16 (512,)
    """

    thresholds: NDArray[np.uint64]
    aliases: NDArray[np.int16]


@lru_cache(maxsize=32)
def make_gaussian_table(sigma: float) -> NoiseTable:
    """Return the table of rounded Gaussian noise, sigma in grey levels.

    Raises ValueError unless sigma is finite and above 0.
    """
    return build_alias_table(compute_gaussian_weights(sigma))


def compute_gaussian_weights(sigma: float) -> list[int]:
    """Return P(k) of k = -256..255 in units of 2^-64; their sum is 2^64."""
    if not (np.isfinite(sigma) and sigma > 0):
        raise ValueError(f"sigma must be a number above 0, not {sigma}")
    with localcontext(_CONTEXT):
        exact = Decimal(float(sigma))
        # P(k or less), except for k = 255, which also stands for all above.
        inner = [_compute_phi((k + Decimal("0.5")) / exact) for k in range(-255, 255)]
        cumulative = [0, 0, *(int((_UNITS * p).to_integral_value()) for p in inner), _UNITS]
    return [after - before for before, after in pairwise(cumulative)]


def build_alias_table(weights: list[int]) -> NoiseTable:
    """Return the exact table for 512 weights, whole numbers with the sum 2^64 (Vose, 1991)."""
    left = list(weights)
    aliases = list(range(_COLUMNS))
    small = [c for c in range(_COLUMNS) if left[c] < _CAPACITY]
    large = [c for c in range(_COLUMNS) if left[c] > _CAPACITY]
    while small:
        column, giver = small.pop(), large[-1]
        aliases[column] = giver
        left[giver] -= _CAPACITY - left[column]
        if left[giver] <= _CAPACITY:
            large.pop()
            if left[giver] < _CAPACITY:
                small.append(giver)
    return NoiseTable(np.array(left, np.uint64), np.array(aliases, np.int16) + np.int16(_LOWEST))


@dataclass(frozen=True, eq=False)
class NoisyCopies:
    """Which noisy copies of images are made.

    which    int64 (n,), the image that each is made from
    numbers  int64 (n,), the images' numbers in their source, 0 or more
    samples  int64 (n,), the numbers of the copies, below MOST_SAMPLES
    """

    which: Ints
    numbers: Ints
    samples: Ints


def add_noise(images: Images, table: NoiseTable, seed: int, copies: NoisyCopies) -> Images:
    """Return noisy copies of images (N, C, H, W), uint8 (n, C, H, W).

    seed  0 or more, below 2^64

    Noise depends on seed, number, sample and the value's position. Raises ValueError for values out
    of range.
    """
    if not 0 <= seed < _UNITS:
        raise ValueError(f"the seed must be from 0 to 2^64 - 1, not {seed}")
    return native.add_integer_noise(
        images,
        (table.thresholds, table.aliases),
        seed,
        (copies.which, copies.numbers, copies.samples),
    )


def _compute_phi(x: Decimal) -> Decimal:
    """Return the standard normal distribution function, to about 50 decimal places.

    Phi(x) = 1/2 + exp(-x^2 / 2) / sqrt(2 pi) (x + x^3 / 3 + x^5 / (3 5) + ...), Marsaglia, 2004.
    """
    if abs(x) > _FAR:
        return Decimal(int(x > 0))
    square, term, total, odd = x * x, x, x, 1
    while abs(term) > Decimal("1e-58"):
        odd += 2
        term = term * square / odd
        total += term
    return Decimal("0.5") + total * (-square / 2).exp() / (2 * _PI).sqrt()
