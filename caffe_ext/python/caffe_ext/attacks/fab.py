"""FAB-T: the fast adaptive boundary attack towards each of several classes.

The boundary to the target t is linearised at the point x_k,

    f = z_t - z_y,    { v : f(x_k) + <grad f(x_k), v - x_k> = 0 },

and the point and the image x are both projected onto it, within 0..255, with the steps d_k from x_k
and d from x that are the shortest in the norm:

    alpha = min( ||d_k|| / (||d_k|| + ||d||), .1 )
    x_k+1 = cut( (1 - alpha) (x_k + eta d_k) + alpha (x + eta d) ),   eta = 1.05, cut to 0..255

Where x_k+1 is adversarial, it is kept if it is the nearest so far, and then x_k+1 is moved
towards the image: x + .9 (x_k+1 - x). An image is dropped once its adversarial lies within the
budget. The first start is the image, further ones are random points at half the budget's radius.

Croce and Hein, 2020, "Minimally distorted adversarial examples with a fast adaptive boundary
attack", Algorithms 1 and 2; targets as in their AutoAttack.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caffe_ext.attacks.apgd import MOST_TARGETS, list_targets, note_gradients
from caffe_ext.attacks.ball import Ball, draw_unit_vector
from caffe_ext.attacks.base import Diagnostics
from caffe_ext.attacks.budget import Norm
from caffe_ext.attacks.budget_texts import register_within
from caffe_ext.attacks.criteria import Criterion
from caffe_ext.attacks.losses import Values, compute_logits_ratio
from caffe_ext.attacks.norms import compute_norms
from caffe_ext.attacks.queries import Queries
from caffe_ext.attacks.settings import check_whole
from caffe_ext.attacks.within import BudgetResult, BudgetSearch
from caffe_ext.models.base import Floats, Images, Ints
from caffe_ext.reporting import pluralize

ETA, MOST_ALPHA, BACKWARD = 1.05, 0.1, 0.9


@register_within("fab")
@dataclass(frozen=True)
class FastAdaptiveBoundary(BudgetSearch):
    """FAB-T.

    targets  how many classes it tries, each with all iterations and restarts
    """

    targets: int = MOST_TARGETS

    def __post_init__(self) -> None:
        """Raise ValueError for invalid settings."""
        super().__post_init__()
        check_whole("targets", self.targets, 1)

    @property
    def name(self) -> str:
        """Return FAB-T with the budget."""
        return f"FAB-T, {pluralize(self.targets, 'target')} {self._budget_text}"

    @property
    def threat_model(self) -> str:
        """Describe what the attacker may do."""
        return (
            f"knows the network and its weights; {self.budget.wording}, in {self.iterations} steps "
            "along linearised decision boundaries (FAB)"
        )

    def needs_grey_level_search(self) -> bool:
        """Return False: its points lie on the boundary, where rounding may go to either side."""
        return False

    def search(
        self, asked: Queries, images: Images, criterion: Criterion, indices: Ints
    ) -> BudgetResult:
        """Follow the boundary to each target; see BudgetSearch."""
        ball = Ball.from_images(images, self.budget, whole=asked.whole)
        result = BudgetResult.make_empty(images, Diagnostics.make_empty(len(images)))
        in_turn = list_targets(asked, ball, criterion, self.targets)
        for number, targets in enumerate(in_turn):
            for restart in range(self.restarts):
                left = np.flatnonzero(~result.found)
                if not len(left):
                    return result
                starts = ball.images[left]
                if restart:
                    keys = [[self.seed, int(one), number, restart] for one in indices[left]]
                    noise = [draw_unit_vector(key, images.shape[1:], self.norm) for key in keys]
                    starts = starts + np.float32(self.epsilon / 2) * np.stack(noise)
                    starts = np.clip(starts, 0, 255)
                noted = result.diagnostics if number == restart == 0 else None
                follow = _Follower(asked, criterion, targets, result, noted)
                follow.run(left, ball.select(left), starts, self.iterations)
        return result


@dataclass(frozen=True, eq=False)
class _Follower:
    """Follows each image's boundary to one target.

    targets  int64 (N,)
    """

    asked: Queries
    criterion: Criterion
    targets: Ints
    result: BudgetResult
    noted: Diagnostics | None

    def run(self, rows: Ints, ball: Ball, points: Floats, iterations: int) -> None:
        """Follow the boundary of each of the images `rows` from its point."""
        norm, epsilon = ball.budget.norm, ball.budget.epsilon
        for iteration in range(iterations):
            if not len(rows):
                return
            logits, values, gradients = self.asked.climb(
                points, ball, rows, self._compute_difference
            )
            if iteration == 0 and self.noted is not None:
                note_gradients(self.noted, rows, logits, gradients, self.criterion)
            moved = step(points, ball.images, values, gradients, norm)
            good = self.criterion.is_satisfied(self.asked.logits(moved, ball), rows)
            apart = compute_norms(moved - ball.images, norm)
            solved = good & (apart <= epsilon)
            self.result.add(rows[solved], moved[solved])
            drawn = ball.images + np.float32(BACKWARD) * (moved - ball.images)
            points = np.where(good[:, None, None, None], drawn, moved)
            stay = np.flatnonzero(~solved)
            rows, ball, points = rows[stay], ball.select(stay), points[stay]

    def _compute_difference(self, logits: Floats, which: Ints) -> tuple[Values, Floats]:
        """Return z_t - z_y and its derivative."""
        return compute_logits_ratio(logits, (self.criterion.labels[which], self.targets[which]), {})


def step(points: Floats, images: Floats, values: Values, gradients: Floats, norm: Norm) -> Floats:
    """Return x_k+1, float32 (n, C, H, W).

    values, gradients  f(x_k) and grad f(x_k)
    """
    count = len(points)
    x, origin = (one.reshape(count, -1).astype(np.float64) for one in (points, images))
    w = gradients.reshape(count, -1).astype(np.float64)
    towards = find_shortest_step(x, w, -values, norm)
    # <w, v - origin> = <w, x - origin> - f
    of_image = find_shortest_step(origin, w, np.einsum("ni,ni->n", w, x - origin) - values, norm)
    first, second = (compute_norms(one, norm) for one in (towards, of_image))
    alpha = np.minimum(first / np.maximum(first + second, 1e-12), MOST_ALPHA)[:, None]
    moved = (1 - alpha) * (x + ETA * towards) + alpha * (origin + ETA * of_image)
    return np.clip(moved, 0, 255).astype(np.float32).reshape(points.shape)


def find_shortest_step(
    points: NDArray[np.float64], w: NDArray[np.float64], rise: Values, norm: Norm
) -> NDArray[np.float64]:
    """Return the shortest d with <w, d> = rise and 0 <= points + d <= 255, float64 (n, m).

    Where there is none, as near to it as 0..255 allows. Each pixel moves in the direction that
    helps, by t in Linf or t |w| in L2, and at most by the room it has; t solves

        sum over the pixels of |w| min(t, room)  = |rise|        (Linf; L2: |w| min(t |w|, room))

    whose left side is piecewise linear in t, with a break where a pixel has no room left.
    """
    direction = np.sign(w) * np.sign(rise)[:, None]
    weights, need = np.abs(w), np.abs(rise)
    room = np.where(direction > 0, 255 - points, np.where(direction < 0, points, 0))
    pace = np.where(direction != 0, 1.0 if norm == "linf" else weights, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.where(pace > 0, room / pace, 0)  # t at which a pixel has no room left
    order = np.argsort(ends, axis=1)
    ends = np.take_along_axis(ends, order, 1)
    slopes = np.take_along_axis(weights * pace, order, 1)
    stopped = np.cumsum(np.take_along_axis(weights * room, order, 1), axis=1)
    # The slope that the pixels after each one in the order still contribute.
    still = slopes.sum(axis=1, keepdims=True) - np.cumsum(slopes, axis=1)
    reached = stopped + ends * still
    last = (reached < need[:, None]).sum(axis=1)  # pixels without room
    rows = np.arange(len(points))
    at_end = np.where(last > 0, stopped[rows, last - 1], 0)
    rate = np.where(last > 0, still[rows, last - 1], slopes.sum(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(rate > 1e-12, (need - at_end) / rate, np.inf)
    t = np.where(last == len(points[0]), np.inf, t)
    with np.errstate(invalid="ignore"):
        moves = np.where(pace > 0, np.minimum(t[:, None] * pace, room), 0)
    return np.asarray(direction * moves)
