"""Bounds over the radius as steps: what is known at some radii, and what follows for those between.

A certificate within a radius holds within every smaller one, and an adversarial within a radius is
one within every larger one. So between two radii that were tried, the share that is certified is at
least that at the larger one, and the share that attacks leave at most that at the smaller one.
"""

from collections.abc import Sequence

import numpy as np

from caffe_ext.certification.windows import Doubles

LOWER, UPPER = "steps-pre", "steps-post"
"""Matplotlib's drawstyle of a lower and of an upper bound."""


def make_band(
    radii: Sequence[float] | Doubles,
    lower: Sequence[float] | Doubles,
    upper: Sequence[float] | Doubles,
) -> tuple[Doubles, Doubles, Doubles]:
    """Return what fill_between() takes to fill the steps: radii, lower and upper bounds.

    radii  ascending
    """
    return (
        np.repeat(np.asarray(radii, np.float64), 2)[1:-1],
        np.repeat(np.asarray(lower, np.float64)[1:], 2),
        np.repeat(np.asarray(upper, np.float64)[:-1], 2),
    )
