"""The report's attacks, in real-valued pixels: FGSM, and PGD in Linf and in L2.

    x_0 = x,   x_k+1 = P( x_k + step g(x_k) )

g is the steepest direction of the cross-entropy: in Linf the sign of its gradient, in L2 the
gradient over its L2 norm. P projects onto the ball of radius epsilon around x and onto 0..255. FGSM
is a single step of length epsilon in Linf. Every image is attacked, and the accuracy is the share
of all images that are classified correctly afterwards.

There are no random starts and no restarts, and the last point counts rather than the best: this is
the report's protocol, which is weaker than AutoAttack.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from caffe_ext.attacks.ball import Ball, find_steepest_step
from caffe_ext.attacks.budget import PerturbationBudget
from caffe_ext.attacks.criteria import Misclassification
from caffe_ext.attacks.losses import make_objective
from caffe_ext.attacks.queries import Queries
from caffe_ext.models.base import Floats, Images, Ints, Model
from caffe_ext.reporting import Step
from caffe_ext.studies.robust_training.models import L2, LINF, Pgd, Radii

Bools = NDArray[np.bool_]


def list_attacks(radii: Radii) -> dict[str, Pgd]:
    """Return the attacks of the table's columns by their names."""
    linf = LINF[radii]
    fgsm = Pgd("linf", linf.epsilon, linf.epsilon, steps=1)
    return {"fgsm": fgsm, "pgd_linf": linf, "pgd_l2": L2[radii]}


def attack(
    model: Model,
    images: Images,
    labels: Ints,
    pgd: Pgd,
    step: Step = lambda _: None,
) -> Floats:
    """Return what the attack makes of images, float32 (N, C, H, W).

    step  is told how many images have taken a step
    """
    ball = Ball.from_images(images, PerturbationBudget(pgd.norm, pgd.epsilon), whole=False)
    objective = make_objective("ce", Misclassification(labels))
    asked, points = Queries(model), ball.images.copy()
    for _ in range(pgd.steps):
        gradients = asked.climb(points, ball, np.arange(len(points)), objective)[2]
        direction = find_steepest_step(gradients, pgd.norm)
        points = ball.project(points + np.float32(pgd.step) * direction)
        step(len(points))
    return points


def measure(
    model: Model,
    images: Images,
    labels: Ints,
    attacks: Mapping[str, Pgd],
    step: Step = lambda _: None,
) -> dict[str, int]:
    """Return how many images are classified correctly, as they are ("natural") and attacked."""
    correct = {"natural": int((model.predict(images) == labels).sum())}
    for name, pgd in attacks.items():
        points = attack(model, images, labels, pgd, step)
        correct[name] = int((model.predict(points) == labels).sum())
    return correct
