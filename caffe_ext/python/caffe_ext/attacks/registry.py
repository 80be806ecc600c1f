"""Attacks by name: a direction, and how far to go in it.

fgs  fgv  margin  margin-s              the smallest adversarial in a direction (directions.py):
hc1  hc2 ... hc1-s                      HC-k, or its sign; hot:7 and hot:7-s make class 7 hot
@BLOB                                   through an inner blob: hc1@ip1
*FACTOR                                 a hard positive, that many times as far: hc1*1.05
=EPSILON                                exactly that far, no search: fgs=8 (grey levels)
bim=8  pgd=8                            iterated, Linf, within 8 grey levels, of the loss
bim-l2=400  pgd-l2=400                  the same in L2, of the whole image
/STEPxN                                 with N steps of STEP grey levels: pgd=8/2x40
+DIRECTION                              as the last part of the name: along that direction and
                                        not the loss: pgd=8/2x40+margin
"""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caffe_ext.attacks.criteria import misclassified
from caffe_ext.attacks.directions import (
    NO_TARGET,
    Direction,
    Directions,
    FastGradient,
    HotCold,
    Ints,
    LogitMargin,
)
from caffe_ext.attacks.line_search import SearchResult, check_scale, fixed_epsilon, line_search
from caffe_ext.attacks.pgd import Ball, ProjectedDescent
from caffe_ext.models.classifier import NO_CLASS, Classifier, Images


@dataclass(frozen=True, eq=False)
class Attempt:
    """What an attack did to N images: its directions (at the images), and what it found."""

    directions: Directions
    result: SearchResult


@dataclass(frozen=True)
class Attack(ABC):
    """Images and labels in, adversarials out; all that it depends on is in its fields."""

    direction: Direction

    @property
    @abstractmethod
    def name(self) -> str:
        """Return the name in tables."""

    @property
    @abstractmethod
    def text(self) -> str:
        """Return what parse_attack makes this attack of."""

    @property
    def file_name(self) -> str:
        """Return the text without what file systems dislike; no two attacks have the same."""
        plain = re.sub(r"(?<=@)[^*=+]+", lambda blob: _escaped(blob[0]), self.text)
        return plain.translate(_IN_FILE_NAMES)

    @property
    @abstractmethod
    def threat_model(self) -> str:
        """Say in words what the attacker knows, wants, and may do."""

    @abstractmethod
    def __call__(
        self, classifier: Classifier, images: Images, labels: Ints, indices: Ints
    ) -> Attempt:
        """Attack images uint8 (N, C, H, W) that are classified as their labels int64 (N,).

        indices  int64 (N,), numbers of the images that random choices depend on
        """


@dataclass(frozen=True)
class Minimal(Attack):
    """The smallest adversarial in a direction; with a scale above 1, a hard positive beyond it."""

    scale: float = 1.0

    def __post_init__(self) -> None:
        """Raise ValueError for a scale below 1, or far too large."""
        check_scale(self.scale)

    @property
    def name(self) -> str:
        """Return the direction's name, with the scale if there is one."""
        return self.direction.name + (f" x {self.scale:g}" if self.scale > 1 else "")

    @property
    def text(self) -> str:
        """Return the name as parse_attack takes it."""
        return _direction_text(self.direction) + (
            f"*{float(self.scale)!r}" if self.scale > 1 else ""
        )

    @property
    def threat_model(self) -> str:
        """Say in words what the attacker may do."""
        further = f", {self.scale:g} times as far" if self.scale > 1 else ""
        return (
            "knows the network and its weights; wants any other class; moves all pixels within "
            f"0..255 along one direction, as little as changes the class{further}"
        )

    def __call__(
        self, classifier: Classifier, images: Images, labels: Ints, indices: Ints
    ) -> Attempt:
        """Search; see Attack."""
        directions = self.direction(classifier, images, labels)
        result = line_search(
            classifier,
            images,
            directions.values,
            misclassified(labels),
            self.scale,
            logits=directions.logits,
            slopes=directions.slopes,
        )
        return Attempt(directions, result)


@dataclass(frozen=True)
class FixedEpsilon(Attack):
    """One step of fixed length in a direction; not a search."""

    epsilon: float

    def __post_init__(self) -> None:
        """Raise ValueError for an epsilon that is not above 0."""
        if not (np.isfinite(self.epsilon) and self.epsilon > 0):
            raise ValueError(f"epsilon must be above 0 grey levels, not {self.epsilon}")

    @property
    def name(self) -> str:
        """Return the direction's name with epsilon."""
        return f"{self.direction.name}, epsilon {self.epsilon:g}"

    @property
    def text(self) -> str:
        """Return the name as parse_attack takes it."""
        return f"{_direction_text(self.direction)}={float(self.epsilon)!r}"

    @property
    def threat_model(self) -> str:
        """Say in words what the attacker may do."""
        return (
            "knows the network and its weights; wants any other class; moves all pixels within "
            f"0..255 along one direction, the largest change being {self.epsilon:g} grey levels"
        )

    def __call__(
        self, classifier: Classifier, images: Images, labels: Ints, indices: Ints
    ) -> Attempt:
        """Take the step; see Attack."""
        directions = self.direction(classifier, images, labels)
        goal = misclassified(labels)
        result = fixed_epsilon(classifier, images, directions.values, self.epsilon, goal)
        return Attempt(directions, result)


@dataclass(frozen=True)
class Iterated(Attack):
    """BIM or PGD within a ball; see iterative.py."""

    ball: Ball

    @property
    def name(self) -> str:
        """Return BIM or PGD with the norm and the radius."""
        norm = {"linf": "Linf", "l2": "L2"}[self.ball.norm]
        method = "PGD" if self.ball.random_start else "BIM"
        return f"{method} {norm} {self.ball.epsilon:g} ({self.direction.name})"

    @property
    def text(self) -> str:
        """Return the name as parse_attack takes it."""
        method = ("pgd" if self.ball.random_start else "bim") + (
            "-l2" if self.ball.norm == "l2" else ""
        )
        return (
            f"{method}={float(self.ball.epsilon)!r}/{float(self.ball.step)!r}"
            f"x{self.ball.iterations}+{_direction_text(self.direction)}"
        )

    @property
    def threat_model(self) -> str:
        """Say in words what the attacker may do."""
        measure = {"linf": "each pixel", "l2": "the whole image (L2)"}[self.ball.norm]
        return (
            "knows the network and its weights; wants any other class; changes "
            f"{measure} by at most {self.ball.epsilon:g} grey levels within 0..255, in "
            f"{self.ball.iterations} steps of {self.ball.step:g}"
        )

    def __call__(
        self, classifier: Classifier, images: Images, labels: Ints, indices: Ints
    ) -> Attempt:
        """Iterate; see Attack."""
        directions = self.direction(classifier, images, labels)
        descent = ProjectedDescent(self.direction, self.ball)
        result = descent(classifier, images, labels, indices)
        return Attempt(directions, result)


# Names of blobs can have slashes in them: inception_3a/output.
_DIRECTION = r"(?:fgs|fgv|margin(?:-s)?|hc\d+(?:-s)?|hot:\d+(?:-s)?)(?:@[^*=+]+)?"
_NUMBER = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"
_PATTERN = re.compile(
    rf"(?P<direction>{_DIRECTION})(?:\*(?P<scale>{_NUMBER})|=(?P<epsilon>{_NUMBER}))?"
    rf"|(?P<method>bim|pgd)(?P<l2>-l2)?=(?P<radius>{_NUMBER})"
    rf"(?:/(?P<step>{_NUMBER})x(?P<iterations>\d+))?(?:\+(?P<along>{_DIRECTION}))?",
    re.IGNORECASE,
)
_ITERATIONS = 40
_IN_FILE_NAMES = str.maketrans({"*": "~", "/": "~", ":": None})


def parse_attack(text: str, *, seed: int = 0) -> Attack:
    """Return the attack of a name, as the head of this file explains them; seed: of PGD's starts.

    BIM and PGD take 40 steps by default, each a sixteenth of the radius, at least 1 in Linf.
    Raises ValueError with the known names.
    """
    match = _PATTERN.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"unknown attack {text!r}; there are fgs, fgv, margin, hc1, hc2, ..., hot:CLASS; also "
            "hc1-s (sign), hc1@BLOB (through an inner blob), hc1*1.05 (a hard positive), fgs=8 "
            "(fixed epsilon), bim=8, pgd=8, pgd-l2=400, pgd=8/2x40+margin"
        )
    if match["method"] is None:
        direction = _direction(match["direction"])
        if match["epsilon"] is not None:
            return FixedEpsilon(direction, float(match["epsilon"]))
        return Minimal(direction, float(match["scale"] or 1))
    radius = float(match["radius"])
    least = 0.0 if match["l2"] else 1.0
    ball = Ball(
        norm="l2" if match["l2"] else "linf",
        epsilon=radius,
        step=float(match["step"] or max(radius / 16, least)),
        iterations=int(match["iterations"] or _ITERATIONS),
        random_start=match["method"].lower() == "pgd",
        seed=seed,
    )
    return Iterated(_direction(match["along"] or "fgv"), ball)


def _direction(text: str) -> Direction:
    """Return the direction of a name, `hc1-s@ip1` say."""
    name, _, blob = text.partition("@")
    name, through = name.lower(), blob or None
    if name in ("fgs", "fgv"):
        return FastGradient(sign=name == "fgs", through=through)
    sign = name.endswith("-s")
    name = name.removesuffix("-s")
    if name == "margin":
        return LogitMargin(sign=sign, through=through)
    if name.startswith("hot:"):
        return HotCold(target=int(name.removeprefix("hot:")), sign=sign, through=through)
    return HotCold(rank=int(name.removeprefix("hc")), sign=sign, through=through)


def _direction_text(direction: Direction) -> str:
    """Return the name that _direction takes."""
    through = f"@{direction.through}" if direction.through else ""
    if isinstance(direction, FastGradient):
        return ("fgs" if direction.sign else "fgv") + through
    sign = "-s" if direction.sign else ""
    if isinstance(direction, LogitMargin):
        return f"margin{sign}{through}"
    if isinstance(direction, HotCold) and direction.target is not None:
        return f"hot:{direction.target}{sign}{through}"
    if isinstance(direction, HotCold):
        return f"hc{direction.rank}{sign}{through}"
    raise TypeError(f"{direction} has no name that can be typed")


def _escaped(blob: str) -> str:
    """Return the name of a blob in letters, digits, ".", "_", "-", and %xx for other bytes."""
    return re.sub(
        r"[^A-Za-z0-9._-]",
        lambda found: "".join(f"%{byte:02x}" for byte in found[0].encode(errors="surrogatepass")),
        blob,
    )


def attempted(attack: Attack, labels: Ints, predicted: Ints) -> NDArray[np.bool_]:
    """Return which images an attack is to be tried on: those classified as their label.

    An image whose label is the attack's own target is left out, too, and one without a class.
    """
    target = getattr(attack.direction, "target", None)
    target = NO_TARGET if target is None else target
    return np.asarray((predicted == labels) & (labels != target) & (predicted != NO_CLASS))
