"""Ball: all images within a perturbation budget of some images, in real or whole grey levels.

    B(x) = { x~ : ||x~ - x|| <= epsilon, 0 <= x~ <= 255 }

An image file holds whole grey levels: in Linf, the balls of radius 25.5 and 25 contain the same
ones. In L2, rounding can leave the ball; then as many pixels as necessary are rounded towards the
image instead.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from caffe_ext.attacks.budget import Norm, PerturbationBudget
from caffe_ext.metrics.distances import split_into_slices
from caffe_ext.models.base import Floats, Images, Ints

Points = NDArray[np.float64]
Real = NDArray[np.floating]
AnyReal = TypeVar("AnyReal", Points, Floats)
_AXES = (1, 2, 3)
# Bounds the temporary arrays.
_AT_A_TIME = 1 << 20


@dataclass(frozen=True, eq=False)
class Ball:
    """The balls around N images.

    images  float32 (N, C, H, W), the centres
    """

    images: Floats
    budget: PerturbationBudget

    @classmethod
    def from_images(cls, images: Images, budget: PerturbationBudget, *, whole: bool) -> "Ball":
        """Return the balls around images; `whole`: with the Linf radius cut to a whole number."""
        if whole and budget.norm == "linf":
            budget = PerturbationBudget("linf", float(np.floor(budget.epsilon)))
        return cls(images.astype(np.float32), budget)

    def select(self, rows: "Ints | NDArray[np.bool_]") -> "Ball":
        """Return some of the balls."""
        return Ball(self.images[rows], self.budget)

    def project(self, points: Floats) -> Floats:
        """Project points onto the balls, in place; see project()."""
        return project(points, self.images, self.budget)

    def round(self, points: Floats) -> Images:
        """Round points of the balls to whole grey levels that also lie in them; uint8."""
        return round_to_grey_levels(points, self.images, self.budget)


def project(points: AnyReal, images: Real | Images, budget: PerturbationBudget) -> AnyReal:
    """Project points (N, C, H, W) onto the budget and 0..255, in place.

    In L2, first onto the ball, then onto 0..255: inside both, though not always the nearest point.
    """
    np.subtract(points, images, out=points)
    if budget.norm == "linf":
        np.clip(points, -budget.epsilon, budget.epsilon, out=points)
    else:
        points *= budget.epsilon / np.maximum(compute_l2_norms(points), budget.epsilon)
    np.add(points, images, out=points)
    return np.clip(points, 0, 255, out=points)


def compute_l2_norms(differences: NDArray[np.floating]) -> Real:
    """Return the L2 norms of differences (N, C, H, W), (N, 1, 1, 1), in their own precision."""
    squares = np.einsum("nchw,nchw->n", differences, differences)
    return np.asarray(np.sqrt(squares)[:, None, None, None])


def find_steepest_step(values: Floats, norm: Norm) -> Floats:
    """Return the steepest unit step in the norm, float32; 0 where there is no direction."""
    if norm == "linf":
        return np.sign(values)
    # Scaled by the largest value first, as squares of small float32 numbers underflow.
    largest = np.abs(values).max(axis=_AXES, keepdims=True)
    scaled = values / np.where(largest > 0, largest, 1)
    return np.asarray(scaled / np.maximum(compute_l2_norms(scaled), 1))


def round_to_grey_levels(points: Real, images: Real | Images, budget: PerturbationBudget) -> Images:
    """Round points within the budget to whole grey levels that also lie in it."""
    whole = np.rint(points).astype(np.float64) - images
    if budget.norm == "linf":
        limit = np.floor(budget.epsilon)
        whole = np.clip(whole, -limit, limit)
    else:
        outside = np.flatnonzero(compute_l2_norms(whole)[:, 0, 0, 0] > budget.epsilon)
        for part in split_into_slices(
            len(outside), points[0].size if len(points) else 1, _AT_A_TIME
        ):
            rows = outside[part]
            apart = points[rows].astype(np.float64) - images[rows]
            whole[rows] = _round_towards_zero(whole[rows], apart, budget.epsilon)
    return np.asarray((images + whole).astype(np.uint8))


def _round_towards_zero(whole: Points, differences: Points, epsilon: float) -> Points:
    """Round differences (N, C, H, W) towards 0 instead, nearest to a half first, until inside.

    With all of them rounded so, they are inside, as |trunc(d)| <= |d|.
    """
    count = len(whole)
    towards, nearest = np.trunc(differences).reshape(count, -1), whole.reshape(count, -1)
    gains = np.square(nearest) - np.square(towards)  # whole numbers: exact
    unclear = np.where(gains > 0, np.abs(nearest - differences.reshape(count, -1)), -1)
    order = np.argsort(-unclear, axis=1, kind="stable")
    squares = np.square(nearest).sum(axis=1, keepdims=True)
    squares = squares - np.cumsum(np.take_along_axis(gains, order, 1), axis=1)
    needed = 1 + (squares > epsilon**2).sum(axis=1, keepdims=True)
    first = np.arange(order.shape[1]) < needed
    choice = np.where(
        first, np.take_along_axis(towards, order, 1), np.take_along_axis(nearest, order, 1)
    )
    shorter = np.empty_like(nearest)
    np.put_along_axis(shorter, order, choice, axis=1)
    return np.asarray(shorter.reshape(whole.shape))


def draw_unit_vector(seeds: list[int], shape: tuple[int, ...], norm: Norm) -> Floats:
    """Return a random point of the unit sphere of the norm, float32.

    Linf: uniform in the cube, then scaled to its surface; L2: uniform on the sphere.
    """
    random = np.random.default_rng(seeds)
    if norm == "linf":
        point = random.uniform(-1, 1, shape)
        return np.asarray(point / np.abs(point).max(), np.float32)
    point = random.standard_normal(shape)
    return np.asarray(point / np.sqrt(np.square(point).sum()), np.float32)
