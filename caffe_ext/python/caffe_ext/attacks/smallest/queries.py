"""MarginQueries: counted queries of a model for a criterion's margin."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caffe_ext.attacks.criteria import Bools, Criterion, Margins, Misclassification
from caffe_ext.attacks.losses import cross_entropy
from caffe_ext.attacks.queries import pull_back
from caffe_ext.models.base import Floats, Ints, Model, Pixels

Points = NDArray[np.float32]
"""Real-valued images, float32 (n, C, H, W), in grey levels."""
Derivative = Callable[[Floats, Ints, slice], Floats]
"""(logits (n, K), the images that they belong to, rows of the points) -> dE/dlogits (n, K)"""


@dataclass(frozen=True, eq=False)
class Answers:
    """A model's answers for n points.

    margins      float64 (n,), by how much the logits miss the criterion; infinite for NaN
    adversarial  bool (n,)
    logits       float32 (n, K)
    """

    margins: Margins
    adversarial: Bools
    logits: Floats


@dataclass(eq=False)
class MarginQueries:
    """Queries a model at points near N images, and counts.

    criterion  of the N images
    queries    images in forward passes
    gradients  images in backward passes
    clearance  the margin of an adversarial must be below -clearance times the largest |logit|: the
               last bits of logits depend on the other images of a call, and an adversarial that
               depends on them might not be one when it is loaded again
    """

    model: Model
    criterion: Criterion
    queries: int = 0
    gradients: int = 0
    clearance: float = 0.0

    def ask(self, points: Pixels, which: Ints) -> Answers:
        """Return the answers for points (n, C, H, W) near the images `which`, int64 (n,)."""
        self.queries += len(points)
        return self._make_answers(self.model.logits(points), which)

    def ascend(self, points: Pixels, which: Ints) -> tuple[Answers, Points]:
        """Return the answers, and the pixel gradients of the margin, in one pass."""
        return self.pull_back(points, which, self._differentiate_margin)

    def ascend_loss(self, points: Pixels, which: Ints) -> tuple[Answers, Points]:
        """Return the answers, and gradients along the softmax loss, of any length, to descend.

        They point towards the label, or away from the target. They are the gradients of
        -J = ln p_label (untargeted) or J = -ln p_target, times a positive number per image, such
        that they vanish only where the gradients of all logits do: in float32 the loss of an image
        that is classified with certainty has the gradient 0. Top-k has no loss and uses the
        margin's gradient.
        """
        return self.pull_back(points, which, self._differentiate_loss)

    def ascend_difference(
        self, points: Pixels, which: Ints, above: Ints, below: Ints
    ) -> tuple[Answers, Points]:
        """Return the answers, and the gradients of h_above - h_below with respect to the pixels."""

        def differentiate(logits: Floats, _: Ints, rows: slice) -> Floats:
            return _differentiate_logit_difference(logits, above[rows], below[rows])

        return self.pull_back(points, which, differentiate)

    def pull_back(
        self, points: Pixels, which: Ints, derivative: Derivative
    ) -> tuple[Answers, Points]:
        """Return the answers, and the gradients of an objective that has this derivative."""
        count = len(points)
        self.queries, self.gradients = self.queries + count, self.gradients + count
        logits, gradients = pull_back(
            self.model, points, lambda logits, rows: derivative(logits, which[rows], rows)
        )
        return self._make_answers(logits, which), gradients

    def _make_answers(self, logits: Floats, which: Ints) -> Answers:
        margins = self.criterion.compute_margins(logits, which)
        margins[np.isnan(margins)] = np.inf
        adversarial = self.criterion.is_satisfied(logits, which)
        if self.clearance:
            adversarial &= margins < -self.clearance * np.abs(logits).max(axis=1)
        return Answers(margins, adversarial, logits)

    def _differentiate_margin(self, logits: Floats, which: Ints, _: slice) -> Floats:
        return _differentiate_logit_difference(
            logits, *self.criterion.find_margin_classes(logits, which)
        )

    def _differentiate_loss(self, logits: Floats, which: Ints, rows: slice) -> Floats:
        """Return the derivative at the logits, over the sum of all probabilities but one."""
        if self.criterion.targets is None and not isinstance(self.criterion, Misclassification):
            return self._differentiate_margin(logits, which, rows)
        return -cross_entropy(logits, self.criterion, which)[1]


def _differentiate_logit_difference(logits: Floats, above: Ints, below: Ints) -> Floats:
    """Return the derivative of h_above - h_below."""
    derivative, rows = np.zeros_like(logits), np.arange(len(logits))
    derivative[rows, above] += 1
    derivative[rows, below] -= 1
    return derivative
