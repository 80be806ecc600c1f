"""Square attack: random search by squares, which queries scores and never a gradient.

    x^ = the best point so far; each query changes a square of side s in it, and the change is kept
    if the margin z_a - z_b (losses.py) has fallen.

Linf  The first point is x with vertical stripes of +-epsilon, one pixel wide, in each channel.
      A change sets the square in each channel to x + epsilon or x - epsilon, with a random sign
      per channel, clipped to 0..255.
L2    The first point is x plus a grid of 5 x 5 tiles, each eta with a random sign per channel,
      scaled to the sphere. A change moves the budget of a window W2, and any unused budget, to
      another, W1, in the form of eta; then the point is scaled to the sphere again. eta of side s
      has two halves of opposite signs, each falling off from its middle in concentric rectangles,
      sum over k from m to M of 1 / (k + 1)^2  at the distance m from the middle.

s^2 is the share p of the image's pixels: p = .8 at first, halved after 10, 50, 200, 500, 1000,
2000, 4000, 6000 and 8000 of 10,000 queries, scaled to the number of queries.

Andriushchenko, Croce, Flammarion and Hein, 2020, Algorithms 1 to 3, with AutoAttack's p.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caffe_ext.attacks.ball import Ball, compute_l2_norms
from caffe_ext.attacks.budget_texts import register_within
from caffe_ext.attacks.criteria import Criterion
from caffe_ext.attacks.losses import Values
from caffe_ext.attacks.queries import Queries
from caffe_ext.attacks.within import BudgetResult, BudgetSearch
from caffe_ext.models.base import Floats, Images, Ints

FIRST_SHARE = 0.8
_HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_OF_QUERIES = 10_000
_TILES = 5
_SMALLEST_L2 = 3
_DRAWN_AT_A_TIME = 128


@register_within("square")
@dataclass(frozen=True)
class SquareAttack(BudgetSearch):
    """Square; `iterations` is the number of queries per image."""

    iterations: int = 5000

    @property
    def name(self) -> str:
        """Return Square with the budget."""
        return f"Square {self._budget_text}"

    @property
    def threat_model(self) -> str:
        """Describe what the attacker may do."""
        return (
            f"sees the network's scores and nothing else; {self.budget.wording}, with "
            f"{self.iterations} queries"
        )

    def search(
        self, asked: Queries, images: Images, criterion: Criterion, indices: Ints
    ) -> BudgetResult:
        """Search by squares; see BudgetSearch."""
        ball = Ball.from_images(images, self.budget, whole=asked.whole)
        result = BudgetResult.make_empty(images)
        for restart in range(self.restarts):
            left = np.flatnonzero(~result.found)
            if len(left):
                draws = [np.random.default_rng([self.seed, int(i), restart]) for i in indices[left]]
                search = _Search(asked, criterion, result, left, ball.select(left), draws)
                search.run(self.iterations)
        return result


class _Search:
    """A search from one start for each of n images; solved ones are dropped."""

    def __init__(  # noqa: PLR0913, PLR0917  it needs all of them
        self,
        asked: Queries,
        criterion: Criterion,
        result: BudgetResult,
        rows: Ints,
        ball: Ball,
        draws: list[np.random.Generator],
    ) -> None:
        """Take the images.

        rows   of these images among all, int64 (n,)
        draws  the random generator of each
        """
        self.asked, self.criterion, self.result = asked, criterion, result
        self.rows, self.ball, self.draws = rows, ball, draws
        self.best: Floats = ball.images
        self.margins: Values = np.full(len(rows), np.inf)
        self.numbers: Floats = np.empty((len(rows), 0, 0), np.float32)

    def run(self, queries: int) -> None:
        """Search."""
        change = self._change_linf if self.ball.budget.norm == "linf" else self._change_l2
        start = self._make_stripes() if self.ball.budget.norm == "linf" else self._make_tiles()
        self._try(self.ball.project(start))
        channels = self.ball.images.shape[1]
        for query in range(1, queries):
            if not len(self.rows):
                return
            turn = (query - 1) % _DRAWN_AT_A_TIME
            if turn == 0:
                shape = (_DRAWN_AT_A_TIME, 5 + channels)
                self.numbers = np.stack([one.random(shape, np.float32) for one in self.draws])
            side = compute_side(query, queries, self.ball.images.shape[2:])
            self._try(change(side, self.numbers[:, turn]))

    def _try(self, points: Floats) -> None:
        """Query points; keep those that are better, and drop the images that are solved."""
        logits = self.asked.logits(points, self.ball)
        margins = self.criterion.compute_margins(logits, self.rows)
        better = np.flatnonzero(margins < self.margins)
        if self.best is self.ball.images:
            self.best = points
        else:
            self.best[better] = points[better]
        self.margins[better] = margins[better]
        solved = self.criterion.is_satisfied(logits, self.rows)
        if solved.any():
            seen = self.asked.to_pixels(points[solved], self.ball.select(solved))
            self.result.add(self.rows[solved], seen.astype(np.float32))
            stay = np.flatnonzero(~solved)
            self.rows, self.ball = self.rows[stay], self.ball.select(stay)
            self.best, self.margins = self.best[stay], self.margins[stay]
            self.draws, self.numbers = [self.draws[one] for one in stay], self.numbers[stay]

    def _make_stripes(self) -> Floats:
        """Return the first points in Linf."""
        _, channels, _, width = self.ball.images.shape
        signs = np.stack([one.integers(0, 2, (channels, 1, width)) for one in self.draws])
        stripes = (2 * signs - 1).astype(np.float32) * np.float32(self.ball.budget.epsilon)
        return self.ball.images + stripes

    def _change_linf(self, side: int, numbers: Floats) -> Floats:
        """Return the points, each with one square changed."""
        places = _draw_window(numbers[:, :2], side, self.ball.images.shape)
        signs = np.where(numbers[:, 5:] < 0.5, -1, 1).astype(np.float32)
        change = signs[:, :, None, None] * np.float32(self.ball.budget.epsilon)
        points = self.best.copy()
        points[places] = np.clip(self.ball.images[places] + change, 0, 255)
        return points

    def _make_tiles(self) -> Floats:
        """Return the first points in L2."""
        count, channels, height, width = self.ball.images.shape
        side = max(1, min(height, width) // _TILES)
        start = np.zeros((count, channels, height, width), np.float32)
        rows, columns = height // side, width // side
        signs = np.stack([one.integers(0, 2, (channels, rows, columns)) for one in self.draws])
        turned = np.stack([one.integers(0, 2, (rows, columns)) for one in self.draws])
        eta = make_bump(side)
        for row in range(rows):
            for column in range(columns):
                tile = np.where(turned[:, row, column, None, None], eta.T, eta)
                window = np.s_[
                    :, :, row * side : (row + 1) * side, column * side : (column + 1) * side
                ]
                start[window] = (2 * signs[:, :, row, column, None, None] - 1) * tile[:, None]
        return self._project_to_sphere(start)

    def _change_l2(self, side: int, numbers: Floats) -> Floats:
        """Return the points with the budget of one window moved to another."""
        images, epsilon = self.ball.images, self.ball.budget.epsilon
        _, channels, height, width = images.shape
        side = min(max(_SMALLEST_L2, side + 1 - side % 2), height, width)
        first = _draw_window(numbers[:, :2], side, images.shape)
        second = _draw_window(numbers[:, 2:4], side, images.shape)
        apart = self.best - images
        unused = np.maximum(0, epsilon**2 - compute_l2_norms(apart) ** 2)
        own = apart[first]
        cleared = apart.copy()
        cleared[first] = 0
        # ||W1 and W2||^2, per channel
        both = np.square(own).sum(axis=(2, 3), keepdims=True)
        both = both + np.square(cleared[second]).sum(axis=(2, 3), keepdims=True)
        available = np.sqrt(both + unused / channels)
        eta = make_bump(side)
        turned = np.where(numbers[:, 4, None, None] < 0.5, eta, eta.T)
        signs = np.where(numbers[:, 5:] < 0.5, -1, 1)
        form = signs[:, :, None, None] * turned[:, None] + _normalize(own)
        apart[second] = 0
        apart[first] = (_normalize(form) * available).astype(np.float32)
        return self._project_to_sphere(apart)

    def _project_to_sphere(self, apart: Floats) -> Floats:
        """Return the points on the sphere in these directions from the images."""
        scale = self.ball.budget.epsilon / np.maximum(compute_l2_norms(apart), 1e-12)
        return self.ball.project(np.asarray(self.ball.images + apart * scale, np.float32))


def compute_side(query: int, queries: int, size: tuple[int, ...]) -> int:
    """Return the side of a query's square, from 1 to the image's shorter side.

    query, queries  its number, and the number of queries
    size            (H, W)
    """
    scaled = int(query / queries * _OF_QUERIES)
    share = FIRST_SHARE / 2 ** sum(scaled > after for after in _HALVED_AFTER)
    height, width = size
    return min(max(1, round(float(np.sqrt(share * height * width)))), height, width)


def make_bump(side: int) -> NDArray[np.float64]:
    """Return eta with L2 norm 1, (side, side), one half above the other."""
    upper = side // 2
    eta = np.concatenate([_make_half_bump(upper, side), -_make_half_bump(side - upper, side)])
    return np.asarray(eta / np.sqrt(np.square(eta).sum()))


def _make_half_bump(height: int, width: int) -> NDArray[np.float64]:
    """Return half of eta, with L2 norm 1."""
    if not height:
        return np.empty((0, width))
    rows, columns = np.abs(np.arange(height) - height // 2), np.abs(np.arange(width) - width // 2)
    away = np.maximum(rows[:, None], columns[None])
    most = max(height // 2 + 1, width // 2 + 1)
    heights = np.cumsum(1 / np.square(np.arange(most, 0, -1.0)))[::-1]
    half = heights[away]
    return np.asarray(half / np.sqrt(np.square(half).sum()))


def _normalize(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return windows (n, C, s, s) over their L2 norms per channel; 0 where those are 0."""
    norms = np.sqrt(np.square(values).sum(axis=(2, 3), keepdims=True))
    return np.asarray(values / np.where(norms > 0, norms, 1))


def _draw_window(
    numbers: Floats, side: int, shape: tuple[int, ...]
) -> tuple[Ints, Ints, Ints, Ints]:
    """Return the index of a square at a random position in each image (n, C, H, W).

    numbers  float32 (n, 2) in 0..1, the relative positions
    """
    room = np.array(shape[2:]) - side + 1
    corners = np.minimum((numbers * room).astype(np.int64), room - 1)
    along = np.arange(side)
    return (
        np.arange(len(numbers))[:, None, None, None],
        np.arange(shape[1])[None, :, None, None],
        corners[:, 0, None, None, None] + along[:, None],
        corners[:, 1, None, None, None] + along,
    )
