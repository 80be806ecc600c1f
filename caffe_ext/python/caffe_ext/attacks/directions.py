"""Directions: in which direction in pixel space does an image meet a decision boundary?

FastGradient   FGS and FGV     the loss's gradient, or its sign
HotCold        HC-k            towards the k-th closest class, or a named one
LogitMargin    margin          towards the closest class; cannot saturate

A direction does not say how far to go: line_search.py finds that.

The derivatives omega are taken at the logits h (K numbers per image, before the softmax) and
propagated back from there to gradients with respect to the pixels: eta = B(omega). Each direction
can also be taken through an inner blob: with f the features there and E the objective whose
derivative with respect to h is omega,

    eta = B_f( |f| dE/df )                                                          `through=`

so each feature is weighted by its own magnitude. This extends Eq. 7 of the 2016 paper to inner
layers: at the logits, E = h_hot - h_label makes it the hot/cold vector (for h_label >= 0).
`sign=True` finally takes the sign of eta ("S" in the paper, else "D").

Rozsa, Rudd and Boult, 2016 (Sections 4.1 to 4.3); FGS: Goodfellow, Shlens and Szegedy, 2015.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from caffe_ext.attacks.base import Attack, AttackResult, Diagnostics
from caffe_ext.attacks.criteria import NO_TARGET, Bools, Criterion, find_class_of_rank
from caffe_ext.attacks.lattice import compute_directional_derivatives
from caffe_ext.models.base import Floats, Images, Ints, Model, softmax

Slopes = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Directions:
    """The directions of N images.

    values     float32 (N, C, H, W): by how much each pixel should change relative to the others;
               only the direction counts
    targets    int64 (N,), the class that a direction points to; NO_TARGET if none
    saturated  bool (N,): the float32 softmax probability of the label is exactly 1, so that the
               loss is exactly 0 there, and so is its derivative with respect to the label's logit
    logits     float32 (N, K), of the images
    slopes     float64 (N,), an estimate of how much the criterion's margin falls per grey level in
               the direction, at the image; NaN where there is none
    """

    values: Floats
    targets: Ints
    saturated: Bools
    logits: Floats
    slopes: Slopes

    @property
    def zero_gradient(self) -> Bools:
        """Return where there is no direction: all values are 0. bool (N,)."""
        return np.asarray(~self.values.any(axis=(1, 2, 3)))

    @property
    def diagnostics(self) -> Diagnostics:
        """Return what an attack reports about them."""
        return Diagnostics(self.targets, self.saturated, self.zero_gradient)


@dataclass(frozen=True, kw_only=True)
class Direction(ABC):
    """What all directions share.

    sign     take the sign of the gradient
    through  an inner blob to take the gradient through, or None
    """

    sign: bool = False
    through: str | None = None

    @property
    @abstractmethod
    def name(self) -> str:
        """Return the name in tables: FGS, FGV, HC1, ..."""

    @abstractmethod
    def compute_omega(self, logits: Floats, criterion: Criterion) -> tuple[Floats, Ints]:
        """Return the derivative at the logits, float32 (n, K), and the targets, int64 (n,).

        criterion  of these n images
        """

    def find_applicable(self, labels: Ints) -> Bools:
        """Return which images with these labels have such a direction, bool (N,)."""
        return np.ones(len(labels), np.bool_)

    def __call__(self, model: Model, images: Images, criterion: Criterion) -> Directions:
        """Return the directions of images uint8 (N, C, H, W) with their criterion.

        Raises ValueError for other images, labels that are not classes, unknown blobs.
        """
        labels = model.check_labels(criterion.labels, len(images))
        targets = np.full(len(images), NO_TARGET, np.int64)
        saturated = np.zeros(len(images), np.bool_)
        scores = np.zeros((len(images), model.classes), np.float32)
        slopes = np.full(len(images), np.nan)

        def compute_diff(logits: Floats, rows: slice) -> Floats:
            which = np.arange(rows.start, rows.stop)
            mine, scores[rows] = criterion.select(which), logits
            saturated[rows] = softmax(logits)[np.arange(len(which)), labels[rows]] == 1
            derivative, targets[rows] = self.compute_omega(logits, mine)
            slopes[rows] = _compute_fall_of_margin(logits, mine, derivative)
            return derivative

        gradients = model.gradient(images, compute_diff, through=self.through)
        # What is not a number points nowhere.
        np.nan_to_num(gradients, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        values = np.sign(gradients) if self.sign else gradients
        if self.through is None:
            slopes *= compute_directional_derivatives(images, values, gradients)
        else:
            slopes[:] = np.nan  # These are not the derivatives of <omega, h>.
        return Directions(values, targets, saturated, scores, slopes)

    def _append_blob(self, name: str) -> str:
        """Return the name, with that of the inner blob if there is one."""
        return name if self.through is None else f"{name}@{self.through}"


@dataclass(frozen=True)
class DirectionalAttack(Attack):
    """An attack that follows a direction; it is tried on images whose labels have one."""

    direction: Direction

    def find_applicable(self, labels: Ints) -> Bools:
        """Return which images with these labels have such a direction."""
        return self.direction.find_applicable(labels)


@dataclass(frozen=True)
class LineAttack(DirectionalAttack):
    """An attack that goes along one line: the direction is computed once, at the image."""

    @abstractmethod
    def search(
        self, model: Model, images: Images, criterion: Criterion, directions: Directions
    ) -> AttackResult:
        """Return what is found along the directions; see Attack.run."""

    def run(
        self, model: Model, images: Images, criterion: Criterion, indices: Ints
    ) -> AttackResult:
        """Go along the direction; see Attack."""
        directions = self.direction(model, images, criterion)
        result = self.search(model, images, criterion, directions)
        return replace(
            result,
            queries=result.queries + len(images),
            gradients=len(images),
            diagnostics=directions.diagnostics,
        )


@dataclass(frozen=True, kw_only=True)
class FastGradient(Direction):
    """The gradient of the softmax loss with respect to the pixels: FGV; with sign: FGS.

        omega = p - onehot(label)                    p: softmax of the logits, in float32

    It ascends the loss of the label, J = -ln p_label; where the criterion has a target, it descends
    the target's, omega = onehot(target) - p. Where p_label is exactly 1 in float32, only the other
    classes' p remain, down to 1e-45; where they underflow as well, the gradient is zero.
    """

    @property
    def name(self) -> str:
        """Return FGS or FGV."""
        return self._append_blob("FGS" if self.sign else "FGV")

    def compute_omega(self, logits: Floats, criterion: Criterion) -> tuple[Floats, Ints]:
        """Return the derivative of the loss with respect to the logits."""
        derivative, rows = softmax(logits), np.arange(len(logits))
        if criterion.targets is None:
            derivative[rows, criterion.labels] -= 1
            return derivative, np.full(len(rows), NO_TARGET, np.int64)
        derivative[rows, criterion.targets] -= 1
        return -derivative, criterion.targets


@dataclass(frozen=True, kw_only=True)
class HotCold(Direction):
    """The hot/cold approach, Eq. 7 of the 2016 paper: away from the label, towards another class.

        omega_hot = |h_hot|     omega_label = -h_label     0 elsewhere

    rank    the hot class has the k-th largest logit besides the label's, k = 1 .. K-1; where the
            criterion has targets, these are hot and the rank is ignored
    target  the hot class, whatever its logit; the rank is then ignored. An image with this label
            has no direction.
    """

    rank: int = 1
    target: int | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for ranks and targets that no network has."""
        if self.rank < 1:
            raise ValueError(f"the rank of the hot class must be at least 1, not {self.rank}")
        if self.target is not None and self.target < 0:
            raise ValueError(f"the hot class must be 0 or more, not {self.target}")

    @property
    def name(self) -> str:
        """Return HC1, HC2, ... or HC->7, with "-S" if by sign."""
        which = f"{self.rank}" if self.target is None else f"->{self.target}"
        return self._append_blob(f"HC{which}{'-S' if self.sign else ''}")

    def find_applicable(self, labels: Ints) -> Bools:
        """Return which images have a label other than the target."""
        return np.asarray(labels != (NO_TARGET if self.target is None else self.target))

    def compute_omega(self, logits: Floats, criterion: Criterion) -> tuple[Floats, Ints]:
        """Return the hot/cold vectors and the hot classes."""
        labels, rows, classes = criterion.labels, np.arange(len(logits)), logits.shape[1]
        if self.target is not None and self.target >= classes:
            raise ValueError(f"the hot class must be one of 0..{classes - 1}, not {self.target}")
        if self.target is not None:
            hot = np.full(len(labels), self.target, np.int64)
        elif criterion.targets is not None:
            hot = criterion.targets
        else:
            hot = find_class_of_rank(logits, labels, self.rank)
        vectors = np.zeros_like(logits)
        vectors[rows, labels] = -logits[rows, labels]
        vectors[rows, hot] = np.abs(logits[rows, hot])
        vectors[hot == labels] = 0
        return vectors, hot


@dataclass(frozen=True, kw_only=True)
class LogitMargin(Direction):
    """Descent on the criterion's margin h_a - h_b, which has no softmax to saturate.

    omega_a = -1     omega_b = 1     0 elsewhere      untargeted: a the label, b the closest class
    """

    @property
    def name(self) -> str:
        """Return "margin", with "-S" if by sign."""
        return self._append_blob(f"margin{'-S' if self.sign else ''}")

    def compute_omega(self, logits: Floats, criterion: Criterion) -> tuple[Floats, Ints]:
        """Return the derivative of the margin, and the class that it points to."""
        rows = np.arange(len(logits))
        above, below = criterion.find_margin_classes(logits, rows)
        vectors = np.zeros_like(logits)
        vectors[rows, above], vectors[rows, below] = -1, 1
        return vectors, below


def _compute_fall_of_margin(logits: Floats, criterion: Criterion, omega: Floats) -> Slopes:
    """Return by how much the margin h_a - h_b falls where <omega, h> rises by 1, float64 (n,).

        (omega_b - omega_a) / |omega|^2

    if the logits move along omega: as good a guess as any before the model is queried. NaN where
    omega says nothing about h_a.
    """
    rows = np.arange(len(logits))
    wide = omega.astype(np.float64)
    above, below = criterion.find_margin_classes(logits, rows)
    own, next_best = wide[rows, above], wide[rows, below]
    fall = np.full(len(rows), np.nan)
    with np.errstate(all="ignore"):
        np.divide(next_best - own, np.square(wide).sum(axis=1), out=fall, where=own != 0)
    return fall
