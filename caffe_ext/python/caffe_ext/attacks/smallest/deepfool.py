"""DeepFool, in L2 and Linf.

    f_j  = h_label - h_j              w_j = its gradient at the point x + 1.02 d
    j    = the class with the smallest |f_j| / ||w_j||_dual
    d    = d - |f_j| / ||w_j||_2^2 w_j                (L2)
           d - |f_j| / ||w_j||_1 sign(w_j)            (Linf)

until the point, clipped to 0..255, is adversarial, or the steps are used up. The classes are the
nine with the largest logits besides the label; for a criterion with a target, or top-k, f is only
its margin. w is 0 in pixels that are at 0 or 255 and would leave 0..255: their share of the step
would be lost.

Moosavi-Dezfooli, Fawzi and Frossard, 2016 (Algorithm 2).
"""

import numpy as np

from caffe_ext.attacks.budget import Norm
from caffe_ext.attacks.criteria import Bools, Misclassification, find_closest_classes
from caffe_ext.attacks.norms import compute_dual_norms, compute_norms, hold_at_bounds
from caffe_ext.attacks.smallest.nearest import NearestAdversarials
from caffe_ext.attacks.smallest.queries import MarginQueries, Points
from caffe_ext.models.base import Floats, Images, Ints

OVERSHOOT = 0.02
CANDIDATES = 9


def deepfool(asked: MarginQueries, images: Images, norm: Norm, steps: int) -> NearestAdversarials:
    """Return the adversarials that DeepFool finds.

    images  uint8 (N, C, H, W), the criterion's
    """
    nearest = NearestAdversarials.make_empty(images)
    which = np.arange(len(images))
    origins = images.astype(np.float32)
    apart = np.zeros_like(origins)
    for step in range(steps + 1):
        points = np.clip(origins + np.float32(1 + OVERSHOOT) * apart, 0, 255)
        answers = asked.ask(points, which)
        nearest.offer(which, points, compute_norms(points - origins, norm), answers.adversarial)
        stay: Bools = np.asarray(~answers.adversarial)
        which, origins, apart, points = which[stay], origins[stay], apart[stay], points[stay]
        if step == steps or not len(which):
            break
        moved = _step_to_closest_plane(asked, points, which, norm, answers.logits[stay])
        stay = np.asarray(moved.any(axis=(1, 2, 3)))
        which, origins, apart = which[stay], origins[stay], apart[stay] + moved[stay]
    return nearest


def _step_to_closest_plane(
    asked: MarginQueries, points: Points, which: Ints, norm: Norm, logits: Floats
) -> Points:
    """Return the steps to the closest of the linear decision boundaries; 0 where there is none."""
    closest = np.full(len(points), np.inf)
    moves = np.zeros_like(points)
    for above, below in _list_pairs(asked, which, logits):
        _, gradients = asked.ascend_difference(points, which, above, below)
        hold_at_bounds(gradients, points)
        rows = np.arange(len(points))
        gaps = np.abs(logits[rows, above].astype(np.float64) - logits[rows, below])
        slopes = compute_dual_norms(gradients, norm)
        with np.errstate(divide="ignore", invalid="ignore"):
            lengths = np.where(slopes > 0, gaps / slopes, np.inf)
        nearer = lengths < closest
        closest[nearer] = lengths[nearer]
        units = np.sign(gradients[nearer])
        if norm == "l2":
            units = gradients[nearer] / slopes[nearer].astype(np.float32)[:, None, None, None]
        # Slightly above 0, for a point on the boundary itself.
        far = np.maximum(lengths[nearer], 1e-3).astype(np.float32)
        moves[nearer] = -far[:, None, None, None] * units
    return moves


def _list_pairs(asked: MarginQueries, which: Ints, logits: Floats) -> list[tuple[Ints, Ints]]:
    """Return the classes between which each plane lies: the falling and the rising one."""
    criterion = asked.criterion
    if not isinstance(criterion, Misclassification):
        return [criterion.find_margin_classes(logits, which)]
    labels = criterion.labels[which]
    return [(labels, others) for others in find_closest_classes(logits, labels, CANDIDATES)]
