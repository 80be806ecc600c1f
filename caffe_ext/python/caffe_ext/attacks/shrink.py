"""How much of an adversarial's perturbation is needed: bisection on the line to the image.

    x(t) = x + t (x~ - x),   0 < t <= 1

x~ is adversarial. The bisection keeps the nearest point that was seen to be adversarial; it is the
nearest on the line if that crosses the decision boundary once.
"""

import numpy as np

from caffe_ext.attacks.ball import Ball
from caffe_ext.attacks.budget import PerturbationBudget
from caffe_ext.attacks.criteria import Bools, Criterion
from caffe_ext.attacks.queries import Queries
from caffe_ext.models.base import NO_CLASS, Floats, Images, Ints, find_top_class

_HALVINGS = 8
# Rounding needs no ball here: each x(t) lies between x and x~ in every pixel, rounded or not.
_ANYWHERE = PerturbationBudget("linf", 255.0)


def shrink(
    asked: Queries, images: Images, adversarials: Floats, found: Bools, criterion: Criterion
) -> Floats:
    """Return nearer adversarials, float32 (N, C, H, W), where there are any.

    asked         if it rounds, the results are whole grey levels
    adversarials  float32 (N, C, H, W), whole grey levels if `asked` rounds
    found         bool (N,), which of them are adversarial; the others are returned as they are
    """
    nearest = adversarials.copy()
    rows = np.flatnonzero(found)
    inside, outside = np.zeros(len(rows), np.float32), np.ones(len(rows), np.float32)
    for _ in range(_HALVINGS if len(rows) else 0):
        middle = (inside + outside) / 2
        points = images[rows] + middle[:, None, None, None] * (adversarials[rows] - images[rows])
        ball = Ball(images[rows].astype(np.float32), _ANYWHERE)
        seen = asked.to_pixels(points.astype(np.float32), ball).astype(np.float32)
        still = criterion.is_satisfied(asked.logits(seen, ball), rows)
        nearest[rows[still]] = seen[still]
        outside[still], inside[~still] = middle[still], middle[~still]
    return nearest


def shrink_and_confirm(
    asked: Queries, images: Images, adversarials: Images, found: Bools, criterion: Criterion
) -> tuple[Bools, Images, Ints]:
    """Return where there are adversarials, bool (N,), the nearer ones, and their classes.

    adversarials, found  as for shrink()

    Sums in a net differ in their last bits from batch to batch, and what was shrunk lies next to
    the boundary. So it is classified again; where it is lost, so is what it was shrunk from, which
    takes its place; and where both are lost, nothing counts as found.
    """
    confirmed = np.zeros(len(images), np.bool_)
    nearest, classes = images.copy(), np.full(len(images), NO_CLASS, np.int64)
    shrunk = shrink(asked, images, adversarials.astype(np.float32), found, criterion)
    for points in (shrunk.astype(np.uint8), adversarials):
        rows = np.flatnonzero(found & ~confirmed)
        if not len(rows):
            break
        logits = asked.model.logits(points[rows])
        asked.queries += len(rows)
        good = criterion.is_satisfied(logits, rows)
        kept = rows[good]
        confirmed[kept], nearest[kept] = True, points[kept]
        classes[kept] = find_top_class(logits[good])
    return confirmed, nearest, classes
