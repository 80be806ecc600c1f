"""Iterated attacks: the basic iterative method (BIM) and projected gradient descent (PGD).

    x_0 = x + r,   x_k+1 = P( x_k + step g(x_k) )            k = 0 .. iterations - 1

P projects onto the perturbation budget ||x~ - x|| <= epsilon and onto 0..255. In Linf g is the sign
of the direction at x_k, in L2 the direction over its L2 norm. r is 0 (BIM), or random within the
budget (PGD): uniform in each pixel in Linf; in L2 uniform over the ball. epsilon and step are in
grey levels, 0..255: of one pixel in Linf; in L2 of the whole image, sqrt(sum d^2).

The network sees whole grey levels: x_k is rounded before each query, and the adversarial is what
was queried. Where rounding would leave the budget, as many pixels as it takes are rounded towards
the image. An image that is solved stays as it is and leaves the batch.

Kurakin, Goodfellow and Bengio, 2017 (BIM); Madry et al., 2018 (PGD).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caffe_ext.attacks.base import AttackResult, Diagnostics
from caffe_ext.attacks.budget import Norm, PerturbationBudget
from caffe_ext.attacks.criteria import Criterion
from caffe_ext.attacks.directions import DirectionalAttack
from caffe_ext.metrics.distances import slices
from caffe_ext.models.base import NO_CLASS, Images, Ints, Model, top_class

Points = NDArray[np.float64]
# Bounds the temporary arrays.
_AT_A_TIME = 1 << 20


@dataclass(frozen=True)
class ProjectedGradient(DirectionalAttack):
    """BIM or PGD along a direction, taken anew at each point; whether by sign the norm decides.

    budget        how far it may go
    step          length of a step, in grey levels, above 0
    iterations    steps
    random_start  begin at a random point within the budget (PGD), not at the image (BIM)
    start_seed    of the random points; each depends on it and on the image's number only
    """

    budget: PerturbationBudget
    step: float
    iterations: int
    random_start: bool = False
    start_seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for settings that make no sense."""
        if not (np.isfinite(self.step) and self.step > 0):
            raise ValueError(f"the step must be above 0 grey levels, not {self.step}")
        if self.iterations < 1:
            raise ValueError(f"iterations must be at least 1, not {self.iterations}")
        if self.start_seed < 0:
            raise ValueError(f"the seed must be 0 or more, not {self.start_seed}")

    @property
    def name(self) -> str:
        """Return BIM or PGD with the budget, the steps and the objective."""
        objective = {"FGS": "loss", "FGV": "loss"}.get(self.direction.name, self.direction.name)
        return (
            f"{'PGD' if self.random_start else 'BIM'} {self.budget}, "
            f"{self.iterations} x {self.step:g} ({objective})"
        )

    @property
    def threat_model(self) -> str:
        """Say in words what the attacker may do."""
        return (
            f"knows the network and its weights; {self.budget.wording}, in {self.iterations} steps "
            f"of {self.step:g}"
        )

    @property
    def seed(self) -> int | None:
        """Return the seed of the random starts."""
        return self.start_seed if self.random_start else None

    def run(
        self, model: Model, images: Images, criterion: Criterion, indices: Ints
    ) -> AttackResult:
        """Iterate; the step lengths of the result are Linf distances. See Attack.

        The diagnostics are of the first gradient of each image.
        """
        points = self._start(images, indices)
        adversarials = images.copy()
        found = np.zeros(len(images), np.bool_)
        classes = np.full(len(images), NO_CLASS, np.int64)
        diagnostics = Diagnostics.unknown(len(images))
        active, queries, gradients = np.arange(len(images)), 0, 0
        for iteration in range(self.iterations + 1):
            asked = _rounded(points[active], images[active], self.budget)
            logits = model.logits(asked)
            queries += len(active)
            solved = criterion.is_satisfied(logits, active)
            which = active[solved]
            adversarials[which], found[which] = asked[solved], True
            classes[which] = top_class(logits[solved])
            active = active[~solved]
            if not len(active) or iteration == self.iterations:
                break
            directions = self.direction(model, asked[~solved], criterion.select(active))
            queries += len(active)
            gradients += len(active)
            if iteration == 0:
                for name in ("targets", "saturated", "zero_gradient"):
                    getattr(diagnostics, name)[active] = getattr(directions, name)
            moved = points[active] + self.step * _unit(directions.values, self.budget.norm)
            points[active] = _project(moved, images[active], self.budget)
        apart = np.abs(adversarials.astype(np.int64) - images).max(axis=(1, 2, 3), initial=0)
        distances = np.where(found, apart, np.nan)
        return AttackResult(
            found, adversarials, classes, distances, queries, gradients, diagnostics
        )

    def _start(self, images: Images, indices: Ints) -> Points:
        """Return the first points."""
        points = images.astype(np.float64)
        if self.random_start:
            for row, number in enumerate(indices):
                random = np.random.default_rng([self.start_seed, int(number)])
                points[row] += _random_start(random, images.shape[1:], self.budget)
        return _project(points, images, self.budget)


def _rounded(points: Points, images: Images, budget: PerturbationBudget) -> Images:
    """Return points within the budget as whole grey levels that lie in it, too."""
    whole: Points = np.rint(points) - images
    if budget.norm == "linf":
        limit = np.floor(budget.epsilon)
        whole = np.clip(whole, -limit, limit)
    else:
        outside = np.flatnonzero(_lengths(whole)[:, 0, 0, 0] > budget.epsilon)
        for part in slices(len(outside), points[0].size if len(points) else 1, _AT_A_TIME):
            rows = outside[part]
            whole[rows] = _shortened(whole[rows], points[rows] - images[rows], budget.epsilon)
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


def _project(points: Points, images: Images, budget: PerturbationBudget) -> Points:
    """Return the nearest points within the budget and 0..255."""
    differences = points - images
    if budget.norm == "linf":
        differences = np.clip(differences, -budget.epsilon, budget.epsilon)
    else:
        lengths = _lengths(differences)
        differences *= budget.epsilon / np.maximum(lengths, budget.epsilon)
    return np.clip(images + differences, 0, 255)


def _random_start(
    random: np.random.Generator, shape: tuple[int, ...], budget: PerturbationBudget
) -> Points:
    """Return a random point within the budget around 0."""
    if budget.norm == "linf":
        return random.uniform(-budget.epsilon, budget.epsilon, shape)
    point = random.standard_normal(shape)
    radius = budget.epsilon * random.uniform() ** (1 / point.size)
    return np.asarray(point * (radius / np.sqrt(np.square(point).sum())))
