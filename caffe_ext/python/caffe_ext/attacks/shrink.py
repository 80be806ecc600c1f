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
from caffe_ext.models.base import Floats, Images

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
