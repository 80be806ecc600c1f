"""The largest radius at which a method certifies an image, by bisection."""

import numpy as np

from caffe_ext.certification.bounds import Bounder
from caffe_ext.certification.windows import Doubles
from caffe_ext.models.base import Images, Ints

TOLERANCE = 0.05
"""Grey levels between the returned radius and one that was not certified."""
_FARTHEST = 255.0


def find_largest_radii(bounder: Bounder, images: Images, labels: Ints) -> Doubles:
    """Return certified radii, float64 (N,), in grey levels; 0 where there is none.

    First 1, 2, 4, ... are tried, then the middle between the last certified radius and the first
    one that was not, until these are TOLERANCE apart. The returned radius was itself certified;
    untried radii below it need not be.
    """
    certified = np.zeros(len(images))
    failed = np.full(len(images), np.inf)
    tried = np.ones(len(images))
    while True:
        active = np.flatnonzero((failed - certified > TOLERANCE) & (certified < _FARTHEST))
        if not len(active):
            return certified
        radii = tried[active]
        sure = bounder.bound(images[active], labels[active], radii).certified
        certified[active[sure]] = radii[sure]
        failed[active[~sure]] = radii[~sure]
        ended = np.isfinite(failed[active])
        middle = (certified[active] + np.where(ended, failed[active], 0)) / 2
        tried[active] = np.where(ended, middle, np.minimum(2 * radii, _FARTHEST))
