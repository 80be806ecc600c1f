"""HopSkipJump, in L2 and Linf: a decision-based attack, for models that give labels only.

A query only tells whether an image is adversarial. From an adversarial x_0, the image blended with
as much uniform noise as it takes:

    x_t    = the point on the line from x to x_t that is on the decision boundary, by bisection
    delta  = sqrt(D) theta ||x_t - x||_2, or D theta ||x_t - x||_inf; a tenth of 255 at first
    g      = mean_b (phi_b - mean phi) u_b      u_b random, of unit length, phi_b = 1 where
                                                x_t + delta u_b is adversarial and -1 where not
    x_t+1  = x_t + xi g / ||g||_2, or x_t + xi sign(g)      xi = ||x_t - x|| / sqrt(t), halved
                                                            until that is adversarial

with 100 sqrt(t) vectors u_b, D pixels, and theta = D^-1.5 (L2) or D^-2 (Linf), until the queries
are used up. The nearest adversarial is then rounded to whole grey levels, as it is and along its
ray (lattice_l2.py).

Chen, Jordan and Wainwright, 2020 (Algorithm 2).
"""

from dataclasses import dataclass, replace
from math import sqrt
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from caffe_ext.attacks.base import Attack, AttackResult
from caffe_ext.attacks.budget import NORM_NAMES, Norm
from caffe_ext.attacks.criteria import Bools, Criterion
from caffe_ext.attacks.norms import compute_norms
from caffe_ext.attacks.registry import register_attack
from caffe_ext.attacks.settings import check_whole
from caffe_ext.attacks.smallest.confirm import confirm
from caffe_ext.attacks.smallest.lattice_l2 import search_rays
from caffe_ext.attacks.smallest.lattice_linf import round_linf
from caffe_ext.attacks.smallest.nearest import NearestAdversarials
from caffe_ext.attacks.smallest.queries import MarginQueries, Points
from caffe_ext.models.base import Images, Ints, Model

_LEAST_BUDGET = 500
_FIRST_PROBES = 100
_STARTS = 100
_HALVINGS = 30
_ROUNDING = 40


@dataclass(frozen=True)
class HopSkipJump(Attack):
    """HopSkipJump.

    budget  queries per image, 500 or more; the last ones are for rounding
    seed    of the random choices; each depends on it and on the image's number only
    """

    budget: int = 5000
    seed: int = 0
    norm: ClassVar[Norm]

    def __post_init__(self) -> None:
        """Raise ValueError for invalid settings."""
        check_whole("budget", self.budget, _LEAST_BUDGET)
        check_whole("the seed", self.seed, 0)

    @property
    def name(self) -> str:
        """Return the method, the norm and the queries."""
        return f"HopSkipJump {NORM_NAMES[self.norm]}, {self.budget} queries"

    @property
    def threat_model(self) -> str:
        """Describe what the attacker may do."""
        return (
            f"sees the classes of {self.budget} queries per image and nothing else; changes pixels "
            f"within 0..255 to make the change ({NORM_NAMES[self.norm]}) as small as it can"
        )

    def check(self, model: Model) -> None:
        """Raise ValueError if it cannot attack this model; tries a few queries on a grey image."""
        Attack.check(replace(self, budget=_LEAST_BUDGET), model)

    def run(
        self, model: Model, images: Images, criterion: Criterion, indices: Ints
    ) -> AttackResult:
        """Search, image by image; the step lengths are Linf distances. See Attack."""
        asked = MarginQueries(model, criterion)
        real, best = NearestAdversarials.make_empty(images), NearestAdversarials.make_empty(images)
        for row, number in enumerate(indices):
            random = np.random.default_rng([self.seed, int(number)])
            _ImageSearch(asked, images, row, self.norm, random, real).search(
                self.budget - _ROUNDING
            )
        rows = np.flatnonzero(real.found)
        if self.norm == "linf":
            best = round_linf(asked, images, real)
        search_rays(asked, images, real.points[rows] - images[rows], rows, best, self.norm)
        real.offer(np.arange(len(images)), best.points, best.distances, best.found)
        return confirm(asked, images, best, real)


class _ImageSearch:
    """The search for one image."""

    def __init__(  # noqa: PLR0913, PLR0917  it needs all of them
        self,
        asked: MarginQueries,
        images: Images,
        row: int,
        norm: Norm,
        random: np.random.Generator,
        real: NearestAdversarials,
    ) -> None:
        self._asked, self._row, self._norm, self._random = asked, row, norm, random
        self._image, self._real = images[row : row + 1].astype(np.float32), real
        self._pixels = self._image.size
        self._theta = self._pixels ** (-1.5 if norm == "l2" else -2.0)
        self._left = 0

    def search(self, budget: int) -> None:
        """Hop, skip and jump until the queries are used up."""
        self._left = budget
        point = self._find_start()
        for step in range(1, budget):
            if point is None or self._left < _FIRST_PROBES:
                return
            far = self._measure_distance(point)
            if far == 0:
                return
            share = sqrt(self._pixels) if self._norm == "l2" else self._pixels
            reach = 25.5 if step == 1 else share * self._theta * far
            direction = self._estimate_direction(point, reach, int(_FIRST_PROBES * sqrt(step)))
            point = self._jump(point, direction, far / sqrt(step))

    def _query_and_offer(self, points: Points) -> Bools:
        """Query points and offer the adversarial ones."""
        self._left -= len(points)
        rows = np.full(len(points), self._row)
        good = self._asked.ask(points, rows).adversarial
        if good.any():
            far = np.where(good, compute_norms(points - self._image, self._norm), np.inf)
            one = int(far.argmin())
            self._real.offer(
                rows[:1], points[one : one + 1], far[one : one + 1], good[one : one + 1]
            )
        return good

    def _measure_distance(self, point: Points) -> float:
        return float(compute_norms(point - self._image, self._norm)[0])

    def _find_start(self) -> Points | None:
        """Return a point on the boundary towards random noise; None: no noise is adversarial."""
        shape = (_STARTS, *self._image.shape[1:])
        noise = self._random.uniform(0, 255, shape).astype(np.float32)
        good = np.flatnonzero(self._query_and_offer(noise))
        if not len(good):
            return None
        return self._to_boundary(noise[good[0]][None])

    def _interpolate(self, point: Points, share: float) -> Points:
        """Return the point at a share, 0..1, of the way from the image to a point."""
        if self._norm == "l2":
            return np.asarray(self._image + np.float32(share) * (point - self._image))
        limit = np.float32(share * self._measure_distance(point))
        return np.asarray(self._image + np.clip(point - self._image, -limit, limit))

    def _to_boundary(self, point: Points) -> Points:
        """Return the adversarial point next to the boundary on the line to an adversarial one."""
        inside, outside, best = 0.0, 1.0, point
        exact = max(self._theta, 1e-6)
        for _ in range(_HALVINGS):
            if outside - inside <= exact or self._left < 1:
                break
            middle = (inside + outside) / 2
            tried = self._interpolate(point, middle)
            if self._query_and_offer(tried)[0]:
                outside, best = middle, tried
            else:
                inside = middle
        return best

    def _estimate_direction(self, point: Points, reach: float, probes: int) -> NDArray[np.float32]:
        """Return the estimated direction into the adversarial side, of unit length or by sign."""
        count = min(probes, self._left)
        shape = (count, *self._image.shape[1:])
        if self._norm == "l2":
            units = self._random.standard_normal(shape)
        else:
            units = self._random.uniform(-1, 1, shape)
        units /= np.sqrt(np.square(units).sum(axis=(1, 2, 3), keepdims=True))
        points = np.clip(point + reach * units, 0, 255).astype(np.float32)
        moved = (points - point) / reach
        phi = np.where(self._query_and_offer(points), 1.0, -1.0)
        weights = phi if abs(phi.mean()) == 1 else phi - phi.mean()
        found = np.einsum("i,ijkl->jkl", weights, moved)[None] / count
        if self._norm == "linf":
            return np.asarray(np.sign(found), np.float32)
        return np.asarray(found / max(float(np.sqrt(np.square(found).sum())), 1e-30), np.float32)

    def _jump(self, point: Points, direction: NDArray[np.float32], length: float) -> Points:
        """Return the boundary point after a step; the same point if no step is adversarial."""
        for _ in range(_HALVINGS):
            if self._left < 1:
                return point
            tried = np.clip(point + np.float32(length) * direction, 0, 255)
            if self._query_and_offer(tried)[0]:
                return self._to_boundary(tried)
            length /= 2
        return point


@register_attack("hopskipjump-l2")
@dataclass(frozen=True)
class HopSkipJumpL2(HopSkipJump):
    """HopSkipJump in L2."""

    norm = "l2"


@register_attack("hopskipjump-linf")
@dataclass(frozen=True)
class HopSkipJumpLinf(HopSkipJump):
    """HopSkipJump in Linf."""

    norm = "linf"
