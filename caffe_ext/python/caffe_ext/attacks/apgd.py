"""APGD, projected gradient ascent with automatic step sizes.

    z_k+1 = P( x_k + eta g(x_k) )
    x_k+1 = P( x_k + alpha (z_k+1 - x_k) + (1 - alpha) (x_k - x_k-1) )       alpha .75; at k = 0, 1

P projects onto the ball and onto 0..255; g is the sign of the objective's gradient (Linf), or the
gradient over its L2 norm (L2). eta starts at 2 epsilon. At the checkpoints w_j = ceil(p_j N),
p_0 = 0, p_1 = .22, p_j+1 = p_j + max(p_j - p_j-1 - .03, .06), it is halved, and the ascent resumes
from the best point so far, if

    the objective has risen in less than rho = .75 of the steps since the last checkpoint, or
    eta was not halved at the last checkpoint and the best value is still the same.

x_0 is a random point on the ball's surface, within 0..255. Objectives: losses.py; dlr-t targets
the classes with the largest logits besides the label one after another, up to nine.

Croce and Hein, 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", Algorithm 1. The second condition follows the authors' program; the paper
compares the etas instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import ceil

import numpy as np

from caffe_ext.attacks.ball import Ball, draw_unit_vector, find_steepest_step
from caffe_ext.attacks.base import Diagnostics
from caffe_ext.attacks.budget_texts import register_within
from caffe_ext.attacks.criteria import Bools, Criterion, find_closest_classes
from caffe_ext.attacks.losses import (
    LOSSES,
    Loss,
    Objective,
    Values,
    check_classes,
    make_objective,
)
from caffe_ext.attacks.queries import Queries
from caffe_ext.attacks.settings import check_whole
from caffe_ext.attacks.within import BudgetResult, BudgetSearch
from caffe_ext.models.base import Floats, Images, Ints, softmax

MOMENTUM, RHO = 0.75, 0.75
MOST_TARGETS = 9


@register_within("apgd", {loss: {"loss": loss} for loss in LOSSES})
@dataclass(frozen=True)
class AutoProjectedGradient(BudgetSearch):
    """APGD.

    loss     what it maximises: ce, margin, dlr, dlr-t
    targets  how many classes dlr-t tries, each with all iterations and restarts
    """

    loss: Loss = "ce"
    targets: int = MOST_TARGETS

    def __post_init__(self) -> None:
        """Raise ValueError for invalid settings."""
        super().__post_init__()
        if self.loss not in LOSSES:
            raise ValueError(f"the loss must be one of {', '.join(LOSSES)}, not {self.loss!r}")
        check_whole("targets", self.targets, 1)

    @property
    def name(self) -> str:
        """Return APGD with its loss and the budget."""
        loss = {"dlr-t": f"T, {self.targets} targets"}.get(self.loss, self.loss.upper())
        return f"APGD-{loss} {self._budget_text}"

    @property
    def threat_model(self) -> str:
        """Describe what the attacker may do."""
        return (
            f"knows the network and its weights; {self.budget.wording}, in {self.iterations} steps "
            "of adaptive length (APGD)"
        )

    def search(
        self, asked: Queries, images: Images, criterion: Criterion, indices: Ints
    ) -> BudgetResult:
        """Climb from each start, towards each target; see BudgetSearch."""
        check_classes(self.loss, asked.model.classes)
        ball = Ball.from_images(images, self.budget, whole=asked.whole)
        result = BudgetResult.make_empty(images, Diagnostics.make_empty(len(images)))
        left = np.arange(len(images))
        in_turn: Sequence[Ints | None] = [None]
        if self.loss == "dlr-t":
            in_turn = list_targets(asked, ball, criterion, self.targets)
        for number, targets in enumerate(in_turn):
            objective = make_objective(self.loss, criterion, targets)
            for restart in range(self.restarts):
                left = np.flatnonzero(~result.found)
                if not len(left):
                    return result
                seeds = [[self.seed, int(one), number, restart] for one in indices[left]]
                # Of the first gradients only.
                noted = result.diagnostics if number == restart == 0 else None
                climb = Climb(asked, objective, criterion, result, noted)
                climb.run(left, ball.select(left), seeds, self.iterations)
        return result


@dataclass(frozen=True, eq=False)
class Climb:
    """A climb from one start of each image.

    result  receives the adversarials found
    noted   receives the diagnostics of the first gradients, or None
    """

    asked: Queries
    objective: Objective
    criterion: Criterion
    result: BudgetResult
    noted: Diagnostics | None

    def run(self, rows: Ints, ball: Ball, seeds: list[list[int]], iterations: int) -> None:
        """Climb.

        rows   which images, int64 (n,)
        seeds  of their starts
        """
        norm, epsilon = ball.budget.norm, np.float32(ball.budget.epsilon)
        starts = np.stack([draw_unit_vector(one, ball.images.shape[1:], norm) for one in seeds])
        points = ball.project(ball.images + epsilon * starts)
        logits, values, gradients = self.asked.climb(points, ball, rows, self.objective)
        if self.noted is not None:
            note_gradients(self.noted, rows, logits, gradients, self.criterion)
        climbers = Climbers.start(rows, ball, points, values, gradients)
        self._leave(climbers, logits)
        turns, last = compute_checkpoints(iterations), 0
        for step in range(iterations):
            if not len(climbers.rows):
                return
            moved = climbers.propose(first=step == 0)
            logits, values, gradients = self.asked.climb(
                moved, climbers.ball, climbers.rows, self.objective
            )
            climbers.move(moved, values, gradients)
            self._leave(climbers, logits)
            if step + 1 in turns:
                climbers.apply_checkpoint(step + 1 - last)
                last = step + 1

    def _leave(self, climbers: "Climbers", logits: Floats) -> None:
        """Record the adversarial points and drop their images."""
        solved = self.criterion.is_satisfied(logits, climbers.rows)
        if solved.any():
            mine = climbers.ball.select(solved)
            seen = self.asked.to_pixels(climbers.points[solved], mine)
            self.result.add(climbers.rows[solved], seen.astype(np.float32))
            climbers.leave(solved)


@dataclass(eq=False)
class Climbers:
    """The current points of n images; each array has one row per image.

    rows            int64 (n,), which images
    points          x_k; previous: x_k-1, best: the one with the largest value so far; float32
    gradients       at the points, and at the best ones
    values          of the objective, float64 (n,)
    steps           eta, float32 (n,)
    rises           steps since the last checkpoint in which the objective has risen
    halved, before  at the last checkpoint: whether eta was halved; the best value
    """

    rows: Ints
    ball: Ball
    points: Floats
    previous: Floats
    best: Floats
    gradients: Floats
    best_gradients: Floats
    values: Values
    best_values: Values
    steps: Floats
    rises: Ints
    halved: Bools
    before: Values

    @classmethod
    def start(
        cls,
        rows: Ints,
        ball: Ball,
        points: Floats,
        values: Values,
        gradients: Floats,
    ) -> "Climbers":
        """Return the climbers at their starting points."""
        count = len(rows)
        return cls(
            rows,
            ball,
            points,
            points,
            points.copy(),
            gradients,
            gradients.copy(),
            values,
            values.copy(),
            np.full(count, 2 * ball.budget.epsilon, np.float32),
            np.zeros(count, np.int64),
            np.ones(count, np.bool_),  # so that the second condition waits for a checkpoint
            values.copy(),
        )

    def leave(self, gone: Bools) -> None:
        """Drop some images."""
        stay = np.flatnonzero(~gone)
        self.ball = self.ball.select(stay)
        for field in fields(self):
            if field.name != "ball":
                setattr(self, field.name, getattr(self, field.name)[stay])

    def propose(self, *, first: bool) -> Floats:
        """Return x_k+1."""
        moved = find_steepest_step(self.gradients, self.ball.budget.norm)
        moved *= self.steps[:, None, None, None]
        moved += self.points
        moved = self.ball.project(moved)
        if first:
            return moved
        # x + alpha (z - x) + (1 - alpha) (x - x') = alpha z + 2 (1 - alpha) x - (1 - alpha) x'
        moved *= np.float32(MOMENTUM)
        moved += np.float32(2 * (1 - MOMENTUM)) * self.points
        moved -= np.float32(1 - MOMENTUM) * self.previous
        return self.ball.project(moved)

    def move(
        self,
        points: Floats,
        values: Values,
        gradients: Floats,
    ) -> None:
        """Go to x_k+1."""
        self.rises += values > self.values
        self.previous, self.points = self.points, points
        self.values, self.gradients = values, gradients
        better = np.flatnonzero(values > self.best_values)
        self.best[better], self.best_gradients[better] = points[better], gradients[better]
        self.best_values[better] = values[better]

    def apply_checkpoint(self, steps: int) -> None:
        """Halve eta where a checkpoint's conditions hold, and return to the best point there.

        steps  since the last checkpoint
        """
        stuck = ~self.halved & (self.best_values <= self.before)
        self.halved = (self.rises < RHO * steps) | stuck
        self.before = self.best_values.copy()
        self.rises[:] = 0
        rows = np.flatnonzero(self.halved)
        self.steps[rows] /= 2
        self.points[rows] = self.best[rows]
        self.gradients[rows] = self.best_gradients[rows]
        self.values[rows] = self.best_values[rows]


def compute_checkpoints(iterations: int) -> frozenset[int]:
    """Return w_1, w_2, ..., the numbers of steps after which eta may be halved."""
    before, now, found = 0.0, 0.22, []
    while now <= 1:
        found.append(ceil(round(now * iterations, 9)))
        before, now = now, round(now + max(now - before - 0.03, 0.06), 9)
    return frozenset(found)


def list_targets(asked: Queries, ball: Ball, criterion: Criterion, most: int) -> list[Ints]:
    """Return the targets to try in turn, each int64 (N,) for all images.

    The criterion's own, if it has any; else the classes by descending logits, up to `most`.
    """
    if criterion.targets is not None:
        return [criterion.targets]
    return find_closest_classes(asked.logits(ball.images, ball), criterion.labels, most)


def note_gradients(
    noted: Diagnostics, rows: Ints, logits: Floats, gradients: Floats, criterion: Criterion
) -> None:
    """Record the diagnostics of some images' first gradients."""
    noted.zero_gradient[rows] = ~gradients.any(axis=(1, 2, 3))
    own = softmax(logits)[np.arange(len(rows)), criterion.labels[rows]]
    noted.saturated[rows] = own == 1
