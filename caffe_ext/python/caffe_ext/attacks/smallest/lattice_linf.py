"""Small adversarials of whole grey levels in Linf, from real-valued ones.

The smallest adversarials mostly have all pixels at +-r or at 0 or 255, so at a whole radius r
nothing is lost by the restriction to whole grey levels.

1. A real-valued adversarial at the distance e is rounded to the nearest within floor(e), within
   ceil(e), and away from the image; whatever is adversarial then has a whole radius r.
2. Within the radius r - 1, from the best so far projected onto it, steps by the sign of the
   margin's gradient are taken, each rounded before the network sees it:

       d = clip_r-1(d - alpha_k sign(g(x + round(d))))      alpha_k from r - 1 down to 1/2

   As soon as one is adversarial, its radius is the new r; an image whose steps all fail is dropped.

Results are points that were classified, so they are also adversarial when read from a file.
"""

import numpy as np

from caffe_ext.attacks.norms import Lengths, compute_norms, shorten
from caffe_ext.attacks.smallest.fmn import anneal
from caffe_ext.attacks.smallest.nearest import NearestAdversarials
from caffe_ext.attacks.smallest.queries import MarginQueries, Points
from caffe_ext.models.base import Images


def minimize_linf(
    asked: MarginQueries, images: Images, start: NearestAdversarials, steps: int
) -> NearestAdversarials:
    """Return adversarials of whole grey levels, from real-valued ones.

    start  the real-valued ones; images without one are skipped
    steps  gradients at each radius before giving up
    """
    origins = images.astype(np.float32)
    best = round_linf(asked, images, start)
    # If all roundings of an image fail, the search goes beyond them, up to twice as far.
    which = np.flatnonzero(start.found)
    limits = np.where(best.found[which], best.distances[which] - 1, np.ceil(start.distances[which]))
    most = 2 * np.ceil(start.distances[which]) + 2
    apart = start.points[which] - origins[which]
    taken = np.zeros(len(which), np.int64)
    stay = limits >= 1
    while True:
        which, limits, most = which[stay], limits[stay], most[stay]
        apart, taken = apart[stay], taken[stay]
        if not len(which):
            return best
        shorten(apart, limits, "linf")
        centres = origins[which]
        np.clip(apart, -centres, 255 - centres, out=apart)
        whole = np.rint(apart)
        answers, gradients = asked.ascend(centres + whole, which)
        best.offer(which, centres + whole, compute_norms(whole, "linf"), answers.adversarial)
        solved = answers.adversarial
        limits[solved] = best.distances[which[solved]] - 1
        taken = np.where(solved, 0, taken + 1)
        alphas = np.array([anneal((1.0, 0.05), min(k, steps), steps) for k in taken.tolist()])
        alphas = np.maximum(alphas * limits, 0.5).astype(np.float32)
        moved = apart - alphas[:, None, None, None] * np.sign(gradients)
        apart = np.where(solved[:, None, None, None], whole, moved)
        exhausted = taken > steps
        wider = exhausted & ~best.found[which]
        limits[wider] = np.ceil(limits[wider] * 1.1)
        taken[wider] = 0
        stay = (limits >= 1) & (~exhausted | wider) & (limits <= most)


def round_linf(
    asked: MarginQueries, images: Images, start: NearestAdversarials
) -> NearestAdversarials:
    """Return the best of three roundings of each start."""
    best = NearestAdversarials.make_empty(images)
    which = np.flatnonzero(start.found)
    origins = images[which].astype(np.float32)
    apart = start.points[which] - origins
    distances = start.distances[which]
    for candidates in (
        _round_within(apart, np.floor(distances)),
        _round_within(apart, np.ceil(distances)),
        np.sign(apart) * np.ceil(np.abs(apart)),
    ):
        points = origins + np.clip(candidates, -origins, 255 - origins)
        answers = asked.ask(points, which)
        best.offer(which, points, compute_norms(points - origins, "linf"), answers.adversarial)
    return best


def _round_within(apart: Points, radii: Lengths) -> Points:
    """Return perturbations rounded and cut to whole radii."""
    whole = np.rint(apart)
    shorten(whole, radii, "linf")
    return whole
