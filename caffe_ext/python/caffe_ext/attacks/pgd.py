"""Iterated attacks: the basic iterative method (BIM) and projected gradient descent (PGD).

    x_0 = x + r,   x_k+1 = P( x_k + step g(x_k) )            k = 0 .. iterations - 1

P projects onto the ball ||x~ - x|| <= epsilon and onto 0..255. In Linf g is the sign of the
direction at x_k, in L2 the direction over its L2 norm. r is 0 (BIM), or random within the ball
(PGD): uniform in each pixel in Linf; in L2 uniform over the ball. epsilon and step are in grey
levels, 0..255: of one pixel in Linf; in L2 of the whole image, sqrt(sum d^2).

The network sees whole grey levels: x_k is rounded before each question, and the adversarial is
what was asked. Where rounding would leave the ball, as many pixels as it takes are rounded towards
the image. An image that is solved stays as it is and leaves the batch.

Kurakin, Goodfellow and Bengio, 2017 (BIM); Madry et al., 2018 (PGD).
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from caffe_ext.attacks.criteria import misclassified
from caffe_ext.attacks.directions import Direction, Ints
from caffe_ext.attacks.line_search import SearchResult
from caffe_ext.metrics.distances import slices
from caffe_ext.models.classifier import Classifier, Images

Norm = Literal["linf", "l2"]
Points = NDArray[np.float64]
# Bounds the temporary arrays.
_AT_A_TIME = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Ball:
    """How far an iterated attack may go, and how.

    norm          linf or l2
    epsilon       radius, in grey levels
    step          length of a step, in grey levels
    iterations    steps
    random_start  begin at a random point in the ball, not at the image
    seed          of the random points; each depends on it and on the image's number only
    """

    norm: Norm = "linf"
    epsilon: float
    step: float
    iterations: int
    random_start: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for settings that make no sense."""
        if self.norm not in get_args(Norm):
            raise ValueError(f"the norm {self.norm!r} is none of {', '.join(get_args(Norm))}")
        for name in ("epsilon", "step"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be above 0 grey levels, not {getattr(self, name)}")
        if self.iterations < 1:
            raise ValueError(f"iterations must be at least 1, not {self.iterations}")
        if self.seed < 0:
            raise ValueError(f"the seed must be 0 or more, not {self.seed}")


@dataclass(frozen=True)
class ProjectedDescent:
    """BIM or PGD along a direction, taken anew at each point; whether by sign the norm decides."""

    direction: Direction
    ball: Ball

    def __call__(
        self, classifier: Classifier, images: Images, labels: Ints, indices: Ints
    ) -> SearchResult:
        """Attack images uint8 (N, C, H, W); the amplitudes of the result are Linf distances.

        indices  int64 (N,), numbers of the images, which their random starts depend on
        """
        goal = misclassified(labels)
        points = self._start(images, indices)
        adversarials = images.copy()
        found = np.zeros(len(images), np.bool_)
        classes = np.full(len(images), -1, np.int64)
        active, forwards = np.arange(len(images)), 0
        for iteration in range(self.ball.iterations + 1):
            asked = _rounded(points[active], images[active], self.ball)
            answers = classifier.predict(asked)
            forwards += len(active)
            solved = goal.reached(answers, active)
            which = active[solved]
            adversarials[which], classes[which], found[which] = asked[solved], answers[solved], True
            active = active[~solved]
            if not len(active) or iteration == self.ball.iterations:
                break
            values = self.direction(classifier, asked[~solved], labels[active]).values
            forwards += len(active)
            moved = points[active] + self.ball.step * _unit(values, self.ball.norm)
            points[active] = _project(moved, images[active], self.ball)
        apart = np.abs(adversarials.astype(np.int64) - images).max(axis=(1, 2, 3), initial=0)
        return SearchResult(found, np.where(found, apart, np.nan), adversarials, classes, forwards)

    def _start(self, images: Images, indices: Ints) -> Points:
        """Return the first points."""
        points = images.astype(np.float64)
        if self.ball.random_start:
            for row, number in enumerate(indices):
                random = np.random.default_rng([self.ball.seed, int(number)])
                points[row] += _random_start(random, images.shape[1:], self.ball)
        return _project(points, images, self.ball)


def _rounded(points: Points, images: Images, ball: Ball) -> Images:
    """Return points of the ball as whole grey levels that lie in it, too."""
    whole: Points = np.rint(points) - images
    if ball.norm == "linf":
        limit = np.floor(ball.epsilon)
        whole = np.clip(whole, -limit, limit)
    else:
        outside = np.flatnonzero(_lengths(whole)[:, 0, 0, 0] > ball.epsilon)
        for part in slices(len(outside), points[0].size if len(points) else 1, _AT_A_TIME):
            rows = outside[part]
            whole[rows] = _shortened(whole[rows], points[rows] - images[rows], ball.epsilon)
    return np.asarray((images + whole).astype(np.uint8))


def _shortened(whole: Points, differences: Points, epsilon: float) -> Points:
    """Round differences (N, C, H, W) towards 0 instead, the least clear ones first, until inside.

    All of them together are inside, as no |trunc(d)| is above |d|.
    """
    count = len(whole)
    towards, rounded = np.trunc(differences).reshape(count, -1), whole.reshape(count, -1)
    gains = np.square(rounded) - np.square(towards)  # whole numbers: exact
    unclear = np.where(gains > 0, np.abs(rounded - differences.reshape(count, -1)), -1)
    order = np.argsort(-unclear, axis=1, kind="stable")
    lengths = np.square(rounded).sum(axis=1, keepdims=True)
    lengths = lengths - np.cumsum(np.take_along_axis(gains, order, 1), axis=1)
    needed = 1 + (lengths > epsilon**2).sum(axis=1, keepdims=True)
    first = np.arange(order.shape[1]) < needed
    choice = np.where(
        first, np.take_along_axis(towards, order, 1), np.take_along_axis(rounded, order, 1)
    )
    shorter = np.empty_like(rounded)
    np.put_along_axis(shorter, order, choice, axis=1)
    return np.asarray(shorter.reshape(whole.shape))


def _lengths(differences: Points) -> Points:
    """Return the L2 norms, (N, 1, 1, 1)."""
    return np.asarray(np.sqrt(np.square(differences).sum(axis=(1, 2, 3), keepdims=True)))


def _unit(values: NDArray[np.float32], norm: Norm) -> Points:
    """Return the steepest unit step in the norm; 0 where there is no direction."""
    if norm == "linf":
        return np.sign(values).astype(np.float64)
    # First by the largest value, as squares of small float32 numbers vanish.
    largest = np.abs(values).max(axis=(1, 2, 3), keepdims=True).astype(np.float64)
    scaled = values / np.where(largest > 0, largest, 1)
    return np.asarray(scaled / np.maximum(_lengths(scaled), 1))


def _project(points: Points, images: Images, ball: Ball) -> Points:
    """Return the nearest points in the ball, within 0..255."""
    differences = points - images
    if ball.norm == "linf":
        differences = np.clip(differences, -ball.epsilon, ball.epsilon)
    else:
        lengths = _lengths(differences)
        differences *= ball.epsilon / np.maximum(lengths, ball.epsilon)
    return np.clip(images + differences, 0, 255)


def _random_start(random: np.random.Generator, shape: tuple[int, ...], ball: Ball) -> Points:
    """Return a random point of the ball around 0."""
    if ball.norm == "linf":
        return random.uniform(-ball.epsilon, ball.epsilon, shape)
    point = random.standard_normal(shape)
    radius = ball.epsilon * random.uniform() ** (1 / point.size)
    return np.asarray(point * (radius / np.sqrt(np.square(point).sum())))
