"""The decisions of ExactStudy as a file holds them, exact-*.json, and checks that they are true.

What a model can be asked again is: whether it misclassifies the adversarials, and the images that
have no decisions. The verdicts of bounds and searches must agree with their margins, and with one
another: no image is robust at a radius within which it has an adversarial.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import floor
from typing import Annotated

import numpy as np
from msgspec import Meta

from caffe_ext.attacks.criteria import MISCLASSIFIED
from caffe_ext.certification.exact import DecidedBy, Decision, Verdict, measure_distance
from caffe_ext.models.base import Floats, Images, Ints, Model, Pixels
from caffe_ext.storage.json_file import Object

NO_RADIUS = -1.0
"""Stands for infinity, which JSON lacks."""
_ROUNDING = 1e-4
"""A margin as small as this, relative to the largest logit, may have another sign elsewhere."""
_TOLERANCE = 1e-6
"""Grey levels by which distances may differ from what they were computed as."""

GreyLevel = Annotated[float, Meta(ge=0, le=255)]
Radius = Annotated[float, Meta(ge=-1, le=255)]
Seconds = Annotated[float, Meta(ge=0)]


@dataclass(frozen=True)
class StoredDecision:
    """A decision in a file; the fields are those of Decision, with a flattened image."""

    verdict: Verdict
    method: DecidedBy
    margin: float
    attacked: bool
    adversarial: list[GreyLevel] | None

    @classmethod
    def from_decision(cls, decision: Decision) -> "StoredDecision":
        """Return a decision as it is stored."""
        image = decision.adversarial
        flat = None if image is None else image.ravel().tolist()
        return cls(decision.verdict, decision.method, decision.margin, decision.attacked, flat)

    def restore(self, shape: tuple[int, ...]) -> Decision:
        """Return the decision on an image of this shape."""
        image = None
        if self.adversarial is not None:
            image = np.array(self.adversarial, np.float32).reshape(shape)
        return Decision(self.verdict, self.method, self.margin, self.attacked, image)


@dataclass(frozen=True)
class StoredImage:
    """The results for an image.

    decisions   at the radii in their order; none if it is itself misclassified
    largest     the largest robust radius and that of the nearest adversarial; None: not requested
    time_limit  under which they were found
    seconds     that they took
    """

    decisions: list[StoredDecision]
    largest: tuple[Radius, Radius] | None
    time_limit: Seconds
    seconds: Seconds


@dataclass(frozen=True)
class ExactPiece:
    """What exact-*.json holds: the results for the first images."""

    description: Object
    images: list[StoredImage]


def find_contradiction(
    piece: ExactPiece, model: Model, images: Images, labels: Ints, radii: Sequence[float]
) -> str:
    """Return what is wrong with decisions in a file, "" if nothing is; they have the right shapes.

    images  uint8 (N, C, H, W), and labels, int64 (N,), of which the file holds the first
    """
    count = len(piece.images)
    wrong = _compute_margins(model, images[:count], labels[:count])
    adversarials: list[Floats] = []
    places: list[int] = []
    for number, stored in enumerate(piece.images):
        decided = [one.restore(images.shape[1:]) for one in stored.decisions]
        if (wrong[number] < 0) if decided else (wrong[number] > 0):
            return f"image {number} is classified {'wrongly' if decided else 'correctly'}"
        said = next(_find_contradictions(decided, images[number], radii), "") if decided else ""
        said = said or _check_largest(stored.largest, decided, images[number], radii)
        if said:
            return f"image {number}: {said}"
        found = [one.adversarial for one in decided if one.adversarial is not None]
        adversarials += found
        places += [number] * len(found)
    if adversarials:
        margins = _compute_margins(model, np.stack(adversarials), labels[places])
        if (margins > 0).any():
            number = places[int(np.flatnonzero(margins > 0)[0])]
            return f"image {number}: the model classifies an adversarial correctly"
    return ""


def _compute_margins(model: Model, images: Pixels, labels: Ints) -> Floats:
    """Return the sign of the label's margin; 0: NaN, or rounding might change it."""
    if not len(images):
        return np.zeros(0, np.float32)
    logits = model.logits(images)
    margins = MISCLASSIFIED(labels).compute_margins(logits, np.arange(len(labels)))
    with np.errstate(invalid="ignore"):
        near = ~(np.abs(margins) > _ROUNDING * np.abs(logits).max(axis=1))
    return np.where(near, 0, np.sign(margins)).astype(np.float32)


def _find_contradictions(
    decided: Sequence[Decision], image: Images, radii: Sequence[float]
) -> Iterator[str]:
    """Yield what is wrong with the decisions on an image."""
    nearest = min(_list_distances(decided, image), default=np.inf)
    for radius, one in zip(radii, decided, strict=True):
        at = f"at radius {radius:g}"
        if one.adversarial is not None:
            distance = measure_distance(one.adversarial, image)
            if distance > radius + _TOLERANCE:
                yield f"its adversarial {at} is {distance:g} grey levels away"
        if (one.margin < 0) if one.verdict == "robust" else (one.margin > 0):
            yield f"it is {one.verdict} {at} with a margin of at least {one.margin:g}"
        if one.attacked and (one.verdict, one.method) != ("vulnerable", "attack"):
            yield f"it is {one.verdict} {at} by {one.method}, but attacked"
        if one.method == "attack" and one.verdict != "vulnerable":
            yield f"it is {one.verdict} {at} by an attack"
        if one.method == "bounds" and one.verdict != "robust":
            yield f"it is {one.verdict} {at} by bounds"
        if one.verdict == "robust" and nearest <= radius - _TOLERANCE:
            yield f"it is robust {at}, with an adversarial {nearest:g} grey levels away"


def _list_distances(decided: Sequence[Decision], image: Images) -> Iterator[float]:
    for one in decided:
        if one.adversarial is not None:
            yield measure_distance(one.adversarial, image)


def _check_largest(
    largest: tuple[float, float] | None,
    decided: Sequence[Decision],
    image: Images,
    radii: Sequence[float],
) -> str:
    """Return what is wrong with the largest robust radius and the nearest adversarial's."""
    if largest is None:
        return ""
    robust, broken = largest
    if not decided:
        return "" if largest == (0.0, 0.0) else "it is misclassified, with a robust radius"
    if robust < 0 or (broken != NO_RADIUS and broken < robust - _TOLERANCE):
        return f"it is robust up to {robust:g}, with an adversarial {broken:g} grey levels away"
    proved = [r for r, one in zip(radii, decided, strict=True) if one.verdict == "robust"]
    if max(map(floor, proved), default=0) > robust + _TOLERANCE:
        return f"it is robust at radius {max(proved):g}, but only up to {robust:g}"
    nearest = min(_list_distances(decided, image), default=np.inf)
    if nearest < np.inf and not 0 <= broken <= nearest + _TOLERANCE:
        return f"its nearest adversarial is {nearest:g} grey levels away, not {broken:g}"
    return ""
