"""Queries: a model whose queries are counted, real-valued or in whole grey levels."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from caffe_ext.attacks.ball import Ball
from caffe_ext.attacks.losses import Objective, Values
from caffe_ext.models.base import Floats, Ints, Model, Pixels


@dataclass
class Queries:
    """Queries a model at points of balls, and counts.

    whole      each point is rounded to whole grey levels of its ball before the model sees it, and
               the gradient there is used as that at the point
    queries    images in forward passes
    gradients  images in backward passes
    """

    model: Model
    whole: bool = False
    queries: int = 0
    gradients: int = 0

    def to_pixels(self, points: Floats, ball: Ball) -> Pixels:
        """Return the points as the model sees them, (n, C, H, W)."""
        return ball.round(points) if self.whole else points

    def logits(self, points: Floats, ball: Ball) -> Floats:
        """Return the logits of points, float32 (n, K)."""
        self.queries += len(points)
        return self.model.logits(self.to_pixels(points, ball))

    def climb(
        self, points: Floats, ball: Ball, which: Ints, objective: Objective
    ) -> tuple[Floats, Values, Floats]:
        """Return the logits, the objective's values and its pixel gradient, in one pass.

        which  int64 (n,), the images that the points belong to, for the objective
        """
        count = len(points)
        self.queries, self.gradients = self.queries + count, self.gradients + count
        values = np.zeros(count)

        def differentiate(logits: Floats, rows: slice) -> Floats:
            values[rows], slopes = objective(logits, which[rows])
            return np.nan_to_num(slopes, posinf=0.0, neginf=0.0)

        logits, gradients = pull_back(self.model, self.to_pixels(points, ball), differentiate)
        np.nan_to_num(values, copy=False, nan=-np.inf)
        return logits, values, gradients


def pull_back(
    model: Model, points: Pixels, derivative: Callable[[Floats, slice], Floats]
) -> tuple[Floats, Floats]:
    """Return the logits of points and the pixel gradients of an objective, in one pass.

    derivative  with respect to the logits: (logits (n, K), rows of the points) -> (n, K)

    A gradient that is not a number has no direction: it is set to 0.
    """
    scores = np.zeros((len(points), model.classes), np.float32)

    def compute_diff(logits: Floats, rows: slice) -> Floats:
        scores[rows] = logits
        return derivative(logits, rows)

    gradients = model.gradient(points, compute_diff)
    if not np.isfinite(gradients.sum(dtype=np.float64)):
        np.nan_to_num(gradients, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    return scores, gradients
