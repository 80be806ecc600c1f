"""Decide exactly whether a net can be fooled within a distance: bounds, an attack, then a search.

    decider = Decider(network, model, ExactMethod())
    decider.decide(subject, radius, seconds)

What the bounds certify is robust, and what the attack breaks is vulnerable. The rest is searched:

milp    a mixed-integer linear program for each class that the bounds leave open
branch  branch and bound over the pixels, for nets with few inputs

An adversarial counts only if the Caffe net itself, in float32, misclassifies it, at pixels within
the distance. An image is robust only if all margins z_label - z_t exceed a threshold that allows
for Caffe's rounding and the solver's tolerances, with M the largest magnitude of the bounds on the
logits, and m that of the image's own logits:

    threshold = 2 MARGIN max(1, M) + SOLVER_MARGIN max(1, m)

Where the least margin lies between 0 and the threshold, no amount of time decides the image.
"""

from dataclasses import dataclass
from math import floor, inf
from time import monotonic
from typing import Literal, get_args

import numpy as np

from caffe_ext.attacks.budget_texts import insert_radius
from caffe_ext.attacks.criteria import MISCLASSIFIED
from caffe_ext.attacks.losses import FEWEST_CLASSES
from caffe_ext.attacks.registry import parse_attack
from caffe_ext.certification.bounds import MARGIN, Bounder, LogitBounds
from caffe_ext.certification.branching import check_inputs, search_boxes
from caffe_ext.certification.largest_radius import TOLERANCE
from caffe_ext.certification.mixed_integer import Goal, Limits, encode_network
from caffe_ext.certification.network import BoundableNetwork
from caffe_ext.certification.perturbations import PixelBall
from caffe_ext.certification.study import check_attack
from caffe_ext.certification.windows import Doubles
from caffe_ext.models.base import Floats, Images, Model
from caffe_ext.models.pixels import allow_dark_pixels

Search = Literal["milp", "branch"]
SEARCHES: tuple[Search, ...] = get_args(Search)
Pixels = Literal["real", "whole"]
PIXELS: tuple[Pixels, ...] = get_args(Pixels)
Verdict = Literal["robust", "vulnerable", "undecided"]
DecidedBy = Literal["bounds", "attack", "milp", "branch"]

SOLVER_MARGIN = 1e-4
_FARTHEST = 255.0
_BOUND_SHARE = 0.2
"""The share of the time spent on the lower bound of an undecided margin."""


@dataclass(frozen=True)
class ExactMethod:
    """How images are decided.

    search  of SEARCHES
    pixels  of PIXELS: which values perturbed ones may have
    attack  the text of an attack, in which E is the radius; "": none; None: choose_attack()
    memory  bytes that bounds may use

    Raises ValueError for invalid settings.
    """

    search: Search = "milp"
    pixels: Pixels = "real"
    attack: str | None = None
    memory: int = 1 << 30

    def __post_init__(self) -> None:
        """Check them."""
        for name, value, known in (
            ("method", self.search, SEARCHES),
            ("reading of pixels", self.pixels, PIXELS),
        ):
            if value not in known:
                raise ValueError(f"the {name} must be one of {', '.join(known)}, not {value!r}")
        if self.attack:
            check_attack(self.attack)


@dataclass(frozen=True, eq=False)
class Subject:
    """An image that the model classifies correctly.

    image  uint8 (C, H, W)
    label  its class
    index  its number, on which the attack's random choices depend
    """

    image: Images
    label: int
    index: int = 0


@dataclass(frozen=True, eq=False)
class Decision:
    """The decision on an image at a radius.

    verdict      robust: no image within the radius gets another class
    method       which decided it, or was running when the time ran out
    margin       all margins z_label - z_t are at least this
    attacked     whether the attack found an adversarial
    adversarial  float32 (C, H, W), where it is vulnerable
    """

    verdict: Verdict
    method: DecidedBy
    margin: float
    attacked: bool = False
    adversarial: Floats | None = None


class Decider:
    """Decides images of a model, one at a time.

    Raises ValueError for `branch` on a net with too many inputs.
    """

    def __init__(self, network: BoundableNetwork, model: Model, method: ExactMethod) -> None:
        """Keep them."""
        if method.search == "branch":
            check_inputs(network)
        self.network, self.model, self.method = network, model, method
        self.attack = choose_attack(model.classes) if method.attack is None else method.attack
        self._bounder = Bounder(network, "crown", method.memory)

    @allow_dark_pixels()
    def decide(
        self, subject: Subject, radius: float, seconds: float, known: Decision | None = None
    ) -> Decision:
        """Return the decision on an image.

        radius   Linf, in grey levels, 0 or more
        seconds  that the search may take; writing its program takes part of them, and is finished
                 in any case
        known    a decision at a smaller radius

        Raises ValueError for a radius that is not 0 or more, and for too little memory.
        """
        image, label = subject.image, subject.label
        ball = PixelBall(image, radius, self.method.pixels == "whole", self.network.pixel_space)
        if not (np.isfinite(radius) and radius >= 0):
            raise ValueError(f"a radius must be 0 or more grey levels, not {radius}")
        bounds = self._bounder.bound(image[None], np.array([label]), np.array([ball.reach]))
        margin = float(bounds.margins.min())
        if margin > 0:
            return Decision("robust", "bounds", margin)
        if ball.reach == 0:  # only the image itself, which the model classifies correctly
            return Decision("robust", "bounds", 0.0)
        broken = self._attack(ball, label, subject.index)
        if broken is not None:
            return Decision("vulnerable", "attack", margin, attacked=True, adversarial=broken)
        if known is not None and known.verdict == "vulnerable":
            return Decision("vulnerable", known.method, margin, adversarial=known.adversarial)
        if self.method.search == "branch":
            found = search_boxes(self._bounder, self.model, ball, label, seconds)
            least = max(margin, found.bound)
            return Decision(found.outcome, "branch", least, adversarial=found.adversarial)
        return self._solve(ball, label, bounds, seconds)

    def _attack(self, ball: PixelBall, label: int, index: int) -> Floats | None:
        """Return what the attack finds in the ball."""
        if not self.attack or ball.reach < 1:
            return None
        attack = parse_attack(insert_radius(self.attack, ball.reach))
        labels = np.array([label])
        found = attack.run(self.model, ball.image[None], MISCLASSIFIED(labels), np.array([index]))
        points = [found.adversarials[found.found].astype(np.float64)]
        if found.real is not None:
            points.append(found.real.adversarials[found.real.found].astype(np.float64))
        candidates = np.concatenate(points)
        return ball.find_adversarial(self.model, candidates, label) if len(candidates) else None

    def _solve(self, ball: PixelBall, label: int, bounds: LogitBounds, seconds: float) -> Decision:
        """Decide by relaxations, then mixed-integer programs, the highest bound's class first."""
        begin = monotonic()
        box = ball.make_box()
        program = encode_network(
            self.network,
            ball.compute_changes(),
            box,
            self._bounder.bound_nodes(box),
            whole=ball.whole,
        )
        margins = bounds.margins[0].copy()
        threshold = self._compute_threshold(ball.image, bounds)
        open_ = [int(it) for it in np.argsort(-margins) if not margins[it] > 0]
        # While a search has no point at or below the threshold, HiGHS gives no lower bound. So the
        # last part of the time goes to a search over points of any margin.
        stages: tuple[tuple[Goal, float, float], ...] = (
            ("relaxation", seconds, inf),
            ("point", (1 - _BOUND_SHARE) * seconds, threshold),
            ("least", seconds, inf),
        )
        for goal, end, most in stages:
            left, open_ = open_, []
            for place, target in enumerate(left):
                share = (begin + end - monotonic()) / (len(left) - place)
                if share <= 0:  # even a search without time takes a second in large nets
                    open_.append(target)
                    continue
                found = program.minimize_margin(label, target, Limits(share, most), goal)
                if found.changes is not None:
                    adversarial = self._find_adversarial(ball, found.changes, label)
                    if adversarial is not None:
                        lowest = float(bounds.margins.min())
                        return Decision("vulnerable", "milp", lowest, adversarial=adversarial)
                least = found.bound - threshold
                margins[target] = np.fmax(margins[target], least)
                if not (found.outcome == "above" or least > 0):
                    open_.append(target)
        lowest = float(margins.min())
        return Decision("undecided" if open_ else "robust", "milp", lowest)

    def _find_adversarial(self, ball: PixelBall, changes: Doubles, label: int) -> Floats | None:
        """Return the adversarial at these changes of the pixels, if the model misclassifies it."""
        centre = ball.image[None].astype(np.float64)
        seen = ball.space.take_visible(centre) + changes[None]
        points = ball.space.replace_visible(centre, seen)
        return ball.find_adversarial(self.model, points, label)

    def _compute_threshold(self, image: Images, bounds: LogitBounds) -> float:
        """Return what a margin must exceed; see above."""
        largest = max(1.0, float(np.abs([bounds.lower, bounds.upper]).max()))
        own = max(1.0, float(np.abs(self.model.logits(image[None])).max()))
        return 2 * MARGIN * largest + SOLVER_MARGIN * own


def find_largest(
    decider: Decider, subject: Subject, seconds: float, decisions: dict[float, Decision]
) -> tuple[float, float]:
    """Return the largest radius that is robust, and the smallest one that is not, by bisection.

    seconds    for each decision
    decisions  by radius, those already known

    They are at most TOLERANCE apart, or one grey level for whole ones. If radii between them are
    undecided, both are at most one grey level from such a radius. 255 for both: no perturbation
    breaks the image; infinity: no radius is known to.
    """
    whole = decider.method.pixels == "whole"
    robust, broken = 0.0, inf
    lowest, highest = inf, -inf  # of the undecided radii
    for radius, decision in decisions.items():
        if decision.verdict == "robust":
            robust = max(robust, floor(radius) if whole else radius)
        elif decision.adversarial is not None:
            broken = min(broken, measure_distance(decision.adversarial, subject.image))
    while robust < _FARTHEST:
        apart = 1.0 if whole or lowest < inf else TOLERANCE
        if min(broken, lowest) - robust > apart:
            radius = _choose_between(robust, min(broken, lowest), whole=whole)
        elif lowest < inf and highest < _FARTHEST and broken - highest > apart:
            radius = _choose_between(highest, broken, whole=whole)
        else:
            break
        last = decider.decide(subject, radius, seconds)
        if last.verdict == "robust":
            robust = radius
        elif last.adversarial is not None:
            broken = min(radius, measure_distance(last.adversarial, subject.image))
        else:
            lowest, highest = min(lowest, radius), max(highest, radius)
        if robust > highest or broken < lowest:  # undecided before, now decided by another radius
            lowest, highest = inf, -inf
    return robust, broken if robust < _FARTHEST else _FARTHEST


def _choose_between(low: float, high: float, *, whole: bool) -> float:
    """Return a radius between two, twice the lower one if the other is infinite."""
    radius = (low + high) / 2 if np.isfinite(high) else max(1.0, 2 * low)
    return min(float(floor(radius)) if whole else radius, _FARTHEST)


def measure_distance(adversarial: Floats, image: Images) -> float:
    """Return the Linf distance, in grey levels."""
    return float(np.abs(adversarial.astype(np.float64) - image).max())


def choose_attack(classes: int) -> str:
    """Return the text of an attack: APGD on the targeted DLR loss, or on another for few classes.

    On small nets, the targeted loss finds adversarials that the margin and cross-entropy miss.
    """
    return "apgd=E+dlr-t" if classes >= FEWEST_CLASSES["dlr-t"] else "apgd=E+ce"
