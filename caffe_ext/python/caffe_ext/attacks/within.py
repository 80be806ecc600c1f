"""Attacks within a perturbation budget: what they have in common, and the two readings of a search.

real-valued          pixels are any numbers from 0 to 255: what the literature reports
whole grey levels    what an image file holds

A real-valued adversarial is rounded, to the nearest whole grey levels within the ball and, in Linf,
also away from the image, and counts in the second reading if it is still adversarial. Where it is
not, the attack is run again on that image with each point rounded before the network sees it. An
image without real-valued adversarials has no whole ones: whole grey levels lie in the ball, too. In
both readings the adversarial is then moved towards the image as far as it remains one (shrink), so
that its distance tells how much was needed, not the radius.
"""

from abc import abstractmethod
from dataclasses import dataclass, replace

import numpy as np

from caffe_ext.attacks.ball import Ball
from caffe_ext.attacks.base import Attack, AttackResult, Diagnostics, RealReading
from caffe_ext.attacks.budget import NORM_NAMES, Norm, PerturbationBudget, explain_fractional_radius
from caffe_ext.attacks.criteria import Bools, Criterion
from caffe_ext.attacks.norms import compute_norms
from caffe_ext.attacks.queries import Queries
from caffe_ext.attacks.settings import check_whole
from caffe_ext.attacks.shrink import shrink, shrink_and_confirm
from caffe_ext.models.base import Floats, Images, Ints, Model


@dataclass(frozen=True, eq=False)
class BudgetResult:
    """What a search has found for N images.

    found        bool (N,)
    points       float32 (N, C, H, W), the adversarials; the image where none was found
    diagnostics  of the first gradient of each image, or None
    """

    found: Bools
    points: Floats
    diagnostics: Diagnostics | None = None

    @classmethod
    def make_empty(cls, images: Images, diagnostics: Diagnostics | None = None) -> "BudgetResult":
        """Return a result in which nothing is found yet."""
        return cls(np.zeros(len(images), np.bool_), images.astype(np.float32), diagnostics)

    def add(self, rows: Ints, points: Floats) -> None:
        """Record adversarials of some images."""
        self.found[rows], self.points[rows] = True, points


@dataclass(frozen=True)
class BudgetAttack(Attack):
    """An attack within a budget.

    epsilon     the radius, in grey levels
    norm        linf or l2
    iterations  steps, or queries of attacks without gradients
    restarts    searches with different random choices, each on what is still unsolved
    seed        of the random choices; each depends only on it and on the image's number
    """

    epsilon: float
    norm: Norm = "linf"
    iterations: int = 100
    restarts: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError for invalid settings."""
        _ = self.budget
        check_whole("iterations", self.iterations, 1)
        check_whole("restarts", self.restarts, 1)
        check_whole("the seed", self.seed, 0)

    @property
    def budget(self) -> PerturbationBudget:
        """Return the budget."""
        return PerturbationBudget(self.norm, self.epsilon)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Say that a radius between whole grey levels is rounded down in one of the readings."""
        return explain_fractional_radius(self.budget)

    @property
    def _budget_text(self) -> str:
        """Return the budget and the restarts, for names."""
        again = f", {self.restarts} restarts" if self.restarts > 1 else ""
        return f"{NORM_NAMES[self.norm]} {self.epsilon:g}, {self.iterations}{again}"


@dataclass(frozen=True)
class BudgetSearch(BudgetAttack):
    """An attack within a budget by one search, which is run in both readings."""

    @abstractmethod
    def search(
        self, asked: Queries, images: Images, criterion: Criterion, indices: Ints
    ) -> BudgetResult:
        """Search for adversarials within the budget; see Attack.run.

        asked  the model; if it rounds, all points queried and all points found are whole grey
               levels
        """

    def needs_grey_level_search(self) -> bool:
        """Tell whether a search in whole grey levels differs from the other one."""
        return True

    def check(self, model: Model) -> None:
        """Raise ValueError if it cannot attack this model; tries one step on one grey image."""
        Attack.check(replace(self, iterations=1, restarts=1), model)

    def run(
        self, model: Model, images: Images, criterion: Criterion, indices: Ints
    ) -> AttackResult:
        """Search in both readings; the step lengths of the result are Linf distances.

        See Attack. The diagnostics are of the first gradient of each image.
        """
        real, whole = Queries(model), Queries(model, whole=True)
        first = self.search(real, images, criterion, indices)
        rows = np.flatnonzero(first.found)
        adversarials = images.copy()
        found = np.zeros(len(images), np.bool_)
        ball = Ball.from_images(images, self.budget, whole=True)
        for candidates in self._round_points(first.points[rows], ball.select(rows)):
            left = ~found[rows]
            mine = rows[left]
            if len(mine):
                logits = whole.logits(candidates[left].astype(np.float32), ball.select(mine))
                good = criterion.is_satisfied(logits, mine)
                found[mine[good]] = True
                adversarials[mine[good]] = candidates[left][good]
        lost = np.flatnonzero(first.found & ~found)
        if len(lost) and self.needs_grey_level_search():
            again = self.search(whole, images[lost], criterion.select(lost), indices[lost])
            found[lost] = again.found
            adversarials[lost] = again.points.astype(np.uint8)
        nearest = shrink(real, images, first.points, first.found, criterion)
        found, adversarials, classes = shrink_and_confirm(
            whole, images, adversarials, found, criterion
        )
        return AttackResult(
            found,
            adversarials,
            classes,
            np.where(
                found, compute_norms(adversarials.astype(np.float32) - images, "linf"), np.nan
            ),
            real.queries + whole.queries,
            real.gradients + whole.gradients,
            first.diagnostics,
            RealReading(first.found, nearest),
        )

    def _round_points(self, points: Floats, ball: Ball) -> list[Images]:
        """Return points as whole grey levels: the nearest; in Linf also rounded outwards."""
        nearest = ball.round(points)
        if self.norm == "l2":
            return [nearest]
        apart = points - ball.images
        away = np.where(apart > 0, np.ceil(points), np.where(apart < 0, np.floor(points), points))
        return [nearest, ball.round(np.asarray(away, np.float32))]
