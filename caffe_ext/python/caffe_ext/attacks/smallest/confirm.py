"""confirm: the result of an attack, from adversarials that are classified again as they are."""

import numpy as np

from caffe_ext.attacks.base import AttackResult, RealReading
from caffe_ext.attacks.norms import compute_norms
from caffe_ext.attacks.smallest.nearest import NearestAdversarials
from caffe_ext.attacks.smallest.queries import MarginQueries
from caffe_ext.models.base import NO_CLASS, Images, find_top_class


def confirm(
    asked: MarginQueries, images: Images, best: NearestAdversarials, real: NearestAdversarials
) -> AttackResult:
    """Return the result, with Linf distances as step lengths, and without diagnostics.

    best  adversarials of whole grey levels
    real  real-valued ones

    What does not satisfy the criterion as uint8 counts as not found.
    """
    adversarials = images.copy()
    found = np.zeros(len(images), np.bool_)
    classes = np.full(len(images), NO_CLASS, np.int64)
    rows = np.flatnonzero(best.found)
    points = best.points[rows].astype(np.uint8)
    answers = asked.ask(points, rows)
    rows, points = rows[answers.adversarial], points[answers.adversarial]
    adversarials[rows], found[rows] = points, True
    classes[rows] = find_top_class(answers.logits[answers.adversarial])
    lengths = compute_norms(adversarials.astype(np.float32) - images, "linf")
    return AttackResult(
        found,
        adversarials,
        classes,
        np.where(found, lengths, np.nan),
        asked.queries,
        asked.gradients,
        real=RealReading(real.found, real.points),
    )
