"""Iterated attacks: the basic iterative method (BIM) and projected gradient descent (PGD).

    x_0 = x + r,   x_k+1 = P( x_k + step g(x_k) )            k = 0 .. iterations - 1

P projects onto the perturbation budget ||x~ - x|| <= epsilon and onto 0..255. In Linf g is the sign
of the direction at x_k, in L2 the direction over its L2 norm. r is 0 (BIM), or random within the
budget (PGD): in Linf uniform in each pixel; in L2 uniform over the ball. epsilon and step are in
grey levels, 0..255: in Linf of one pixel; in L2 of the whole image, sqrt(sum d^2).

The network sees whole grey levels: x_k is rounded before each query, and the adversarial is what
was queried. Where rounding would leave the budget, as many pixels as necessary are rounded towards
the image. Solved images leave the batch.

Kurakin, Goodfellow and Bengio, 2017 (BIM); Madry et al., 2018 (PGD).
"""

from dataclasses import dataclass

import numpy as np

from caffe_ext.attacks.ball import Points, find_steepest_step, project, round_to_grey_levels
from caffe_ext.attacks.base import AttackResult, Diagnostics
from caffe_ext.attacks.budget import PerturbationBudget, explain_fractional_radius
from caffe_ext.attacks.criteria import Bools, Criterion
from caffe_ext.attacks.directions import DirectionalAttack
from caffe_ext.attacks.norms import compute_norms
from caffe_ext.attacks.queries import Queries
from caffe_ext.attacks.settings import check_whole
from caffe_ext.attacks.shrink import shrink_and_confirm
from caffe_ext.models.base import Images, Ints, Model


@dataclass(frozen=True)
class ProjectedGradient(DirectionalAttack):
    """BIM or PGD along a direction, recomputed at each point; the norm decides whether by sign.

    budget        how far it may go
    step          length of a step, in grey levels, above 0
    iterations    number of steps
    random_start  begin at a random point within the budget (PGD), not at the image (BIM)
    start_seed    of the random points; each depends only on it and on the image's number
    restarts      number of starts, each for the images that the previous ones left unsolved
    """

    budget: PerturbationBudget
    step: float
    iterations: int
    random_start: bool = False
    start_seed: int = 0
    restarts: int = 1

    def __post_init__(self) -> None:
        """Raise ValueError for invalid settings."""
        if not (np.isfinite(self.step) and self.step > 0):
            raise ValueError(f"the step must be above 0 grey levels, not {self.step}")
        check_whole("iterations", self.iterations, 1)
        check_whole("the seed", self.start_seed, 0)
        check_whole("restarts", self.restarts, 1)
        if self.restarts > 1 and not self.random_start:
            raise ValueError("BIM always starts at the image: restarts are for pgd")

    @property
    def remarks(self) -> tuple[str, ...]:
        """Say that a radius between whole grey levels is rounded down."""
        return explain_fractional_radius(self.budget)

    @property
    def name(self) -> str:
        """Return BIM or PGD with the budget, the steps and the objective."""
        objective = {"FGS": "loss", "FGV": "loss"}.get(self.direction.name, self.direction.name)
        return (
            f"{'PGD' if self.random_start else 'BIM'} {self.budget}, "
            f"{self.iterations} x {self.step:g}{self._again} ({objective})"
        )

    @property
    def threat_model(self) -> str:
        """Describe what the attacker may do."""
        return (
            f"knows the network and its weights; {self.budget.wording}, in {self.iterations} steps "
            f"of {self.step:g}{self._again}"
        )

    @property
    def _again(self) -> str:
        """Return the restarts, for names."""
        return f", {self.restarts} starts" if self.restarts > 1 else ""

    @property
    def seed(self) -> int | None:
        """Return the seed of the random starts."""
        return self.start_seed if self.random_start else None

    def run(
        self, model: Model, images: Images, criterion: Criterion, indices: Ints
    ) -> AttackResult:
        """Iterate from each start; the step lengths of the result are Linf distances. See Attack.

        Each adversarial is moved towards the image as far as it remains one, so that its distance
        tells how much was needed, not the radius. The diagnostics are of the first gradient of each
        image.
        """
        asked = Queries(model, whole=True)
        diagnostics = Diagnostics.make_empty(len(images))
        found, adversarials = np.zeros(len(images), np.bool_), images.copy()
        for restart in range(self.restarts):
            left = np.flatnonzero(~found)
            if not len(left):
                break
            solved, points = self._climb(
                asked,
                (images[left], self._make_start(images[left], indices[left], restart)),
                criterion.select(left),
                diagnostics if restart == 0 else None,
            )
            found[left], adversarials[left] = solved, points
        found, adversarials, classes = shrink_and_confirm(
            asked, images, adversarials, found, criterion
        )
        lengths = compute_norms(adversarials.astype(np.float32) - images, "linf")
        return AttackResult(
            found,
            adversarials,
            classes,
            np.where(found, lengths, np.nan),
            asked.queries,
            asked.gradients,
            diagnostics,
        )

    def _climb(
        self,
        asked: Queries,
        points_of: tuple[Images, Points],
        criterion: Criterion,
        diagnostics: Diagnostics | None,
    ) -> tuple[Bools, Images]:
        """Return which images are solved from one start, and the adversarials.

        points_of    the images and their starts; all arrays are of these images
        diagnostics  receives those of the first gradients, or None
        """
        images, points = points_of
        adversarials, found = images.copy(), np.zeros(len(images), np.bool_)
        active = np.arange(len(images))
        for iteration in range(self.iterations + 1):
            seen = round_to_grey_levels(points[active], images[active], self.budget)
            last = iteration == self.iterations
            # One pass judges the points and gives the directions from those not yet adversarial.
            if last:
                logits = asked.model.logits(seen)
            else:
                directions = self.direction(asked.model, seen, criterion.select(active))
                logits = directions.logits
                asked.gradients += len(active)
            asked.queries += len(active)
            if iteration == 0 and diagnostics is not None:
                for name in ("targets", "saturated", "zero_gradient"):
                    getattr(diagnostics, name)[active] = getattr(directions, name)
            solved = criterion.is_satisfied(logits, active)
            adversarials[active[solved]], found[active[solved]] = seen[solved], True
            active = active[~solved]
            if not len(active) or last:
                break
            way = find_steepest_step(directions.values[~solved], self.budget.norm)
            points[active] = project(points[active] + self.step * way, images[active], self.budget)
        return found, adversarials

    def _make_start(self, images: Images, indices: Ints, restart: int = 0) -> Points:
        """Return the starting points."""
        points = images.astype(np.float64)
        if self.random_start:
            for row, number in enumerate(indices):
                seeds = [self.start_seed, int(number), *([restart] if restart else [])]
                random = np.random.default_rng(seeds)
                points[row] += _draw_start(random, images.shape[1:], self.budget)
        return project(points, images, self.budget)


def _draw_start(
    random: np.random.Generator, shape: tuple[int, ...], budget: PerturbationBudget
) -> Points:
    """Return a random point within the budget around 0."""
    if budget.norm == "linf":
        return random.uniform(-budget.epsilon, budget.epsilon, shape)
    point = random.standard_normal(shape)
    radius = budget.epsilon * random.uniform() ** (1 / point.size)
    return np.asarray(point * (radius / np.sqrt(np.square(point).sum())))
