"""Directions: in which direction of the pixels does an image meet a decision boundary?

FastGradient   FGS and FGV     the loss's gradient, or its sign
HotCold        HC-k            towards the k-th closest class, or a named one
LogitMargin    margin          towards whatever class comes next; cannot saturate

A direction knows nothing of how far to go: that is search.py's business.

The derivatives are taken at the logits h (K numbers an image, before the softmax) and go back from
there, as pixel gradients: eta = B(omega). Each direction can be taken through an inner blob, too:
with f the features there and E the objective whose derivative by h is omega,

    eta = B_f( |f| dE/df )                                                          `through=`

so that each feature asks for change in proportion to its own magnitude. That is Eq. 7 of the 2016
paper carried to inner layers: at the logits, E = h_hot - h_label makes it the hot/cold vector (for
h_label >= 0). `sign=True` takes the sign of eta in the end ("S" in the paper, else "D").

Rozsa, Rudd and Boult, 2016 (Sections 4.1 to 4.3); FGS: Goodfellow, Shlens and Szegedy, 2015.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caffe_ext.attacks.lattice import rises
from caffe_ext.models.classifier import Classifier, Floats, Images, softmax

Ints = NDArray[np.int64]
Slopes = NDArray[np.float64]
NO_TARGET = -1


@dataclass(frozen=True, eq=False)
class Directions:
    """The directions of N images.

    values   float32 (N, C, H, W): by how much each pixel should change in relation to the others;
             only the direction counts
    targets  int64 (N,), the class that a direction points to; NO_TARGET if to none
    certain  bool (N,): the float32 softmax probability of the label is exactly 1, so that the loss
             is exactly 0 there, and its derivative by the label's logit
    logits   float32 (N, K), the images' scores
    slopes   float64 (N,), an estimate: by how much the margin h_label - max_{j != label} h_j falls
             with the first grey levels in the direction; NaN where there is none
    """

    values: Floats
    targets: Ints
    certain: NDArray[np.bool_]
    logits: Floats
    slopes: Slopes

    @property
    def blank(self) -> NDArray[np.bool_]:
        """Return where there is no direction: all values are 0. bool (N,)."""
        return np.asarray(~self.values.any(axis=(1, 2, 3)))


@dataclass(frozen=True, kw_only=True)
class Direction(ABC):
    """What all directions share.

    sign     take the sign of the derivative
    through  an inner blob to take the derivative through, or None
    """

    sign: bool = False
    through: str | None = None

    @property
    @abstractmethod
    def name(self) -> str:
        """Return the name in tables: FGS, FGV, HC1, ..."""

    @abstractmethod
    def omega(self, logits: Floats, labels: Ints) -> tuple[Floats, Ints]:
        """Return what goes back from the logits, float32 (n, K), and the targets, int64 (n,)."""

    def __call__(self, classifier: Classifier, images: Images, labels: Ints) -> Directions:
        """Return the directions of images uint8 (N, C, H, W) with their labels int64 (N,).

        Raises ValueError for other images, labels that are no classes, unknown blobs.
        """
        labels = classifier.check_labels(labels, len(images))
        targets = np.full(len(images), NO_TARGET, np.int64)
        certain = np.zeros(len(images), np.bool_)
        scores = np.zeros((len(images), classifier.classes), np.float32)
        slopes = np.full(len(images), np.nan)

        def diff(logits: Floats, rows: slice) -> Floats:
            mine, scores[rows] = labels[rows], logits
            certain[rows] = softmax(logits)[np.arange(len(mine)), mine] == 1
            derivative, targets[rows] = self.omega(logits, mine)
            slopes[rows] = _fall_of_margin(logits, mine, derivative)
            return derivative

        gradients = classifier.gradient(images, diff, through=self.through)
        # What is not a number points nowhere.
        np.nan_to_num(gradients, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        values = np.sign(gradients) if self.sign else gradients
        if self.through is None:
            slopes *= rises(images, values, gradients)
        else:
            slopes[:] = np.nan  # These are not the derivatives of <omega, h>.
        return Directions(values, targets, certain, scores, slopes)

    def _named(self, name: str) -> str:
        """Return the name with the inner blob's, if there is one."""
        return name if self.through is None else f"{name}@{self.through}"


@dataclass(frozen=True, kw_only=True)
class FastGradient(Direction):
    """The gradient of the softmax loss J = -ln p_label by the pixels: FGV; with sign: FGS.

        omega = p - onehot(label)                    p: softmax of the logits, in float32

    Where p_label is exactly 1 in float32, what is left are the other classes' p, down to 1e-45;
    where they vanish as well, the gradient is blank.
    """

    @property
    def name(self) -> str:
        """Return FGS or FGV."""
        return self._named("FGS" if self.sign else "FGV")

    def omega(self, logits: Floats, labels: Ints) -> tuple[Floats, Ints]:
        """Return dJ/dlogits; the loss has no target."""
        derivative = softmax(logits)
        derivative[np.arange(len(labels)), labels] -= 1
        return derivative, np.full(len(labels), NO_TARGET, np.int64)


@dataclass(frozen=True, kw_only=True)
class HotCold(Direction):
    """The hot/cold approach, Eq. 7 of the 2016 paper: away from the label, towards another class.

        omega_hot = |h_hot|     omega_label = -h_label     0 elsewhere

    rank    the hot class is the k-th closest scoring one besides the label: 1 .. K-1
    target  the hot class, whatever its score; then rank does not count. An image with this label
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
        return self._named(f"HC{which}{'-S' if self.sign else ''}")

    def omega(self, logits: Floats, labels: Ints) -> tuple[Floats, Ints]:
        """Return the hot/cold vectors and the hot classes."""
        rows, classes = np.arange(len(labels)), logits.shape[1]
        if self.target is None:
            hot = closest(logits, labels, self.rank)
        elif self.target < classes:
            hot = np.full(len(labels), self.target, np.int64)
        else:
            raise ValueError(f"the hot class {self.target} is none of 0..{classes - 1}")
        vectors = np.zeros_like(logits)
        vectors[rows, labels] = -logits[rows, labels]
        vectors[rows, hot] = np.abs(logits[rows, hot])
        vectors[hot == labels] = 0
        return vectors, hot


@dataclass(frozen=True, kw_only=True)
class LogitMargin(Direction):
    """The gradient of the margin max_{j != label} h_j - h_label: it has no softmax to saturate.

    omega_j* = 1     omega_label = -1     0 elsewhere         j*: the closest scoring class
    """

    @property
    def name(self) -> str:
        """Return "margin", with "-S" if by sign."""
        return self._named(f"margin{'-S' if self.sign else ''}")

    def omega(self, logits: Floats, labels: Ints) -> tuple[Floats, Ints]:
        """Return the derivative of the margin, and the closest class."""
        rows, hot = np.arange(len(labels)), closest(logits, labels, 1)
        vectors = np.zeros_like(logits)
        vectors[rows, labels], vectors[rows, hot] = -1, 1
        return vectors, hot


def _fall_of_margin(logits: Floats, labels: Ints, omega: Floats) -> Slopes:
    """Return by how much the margin falls where <omega, h> rises by 1, float64 (n,).

        (omega_j* - omega_label) / |omega|^2            j*: the closest scoring class

    if the logits move along omega: as good a guess as any before the net is asked. NaN where omega
    says nothing of the label's logit.
    """
    rows = np.arange(len(labels))
    wide = omega.astype(np.float64)
    own, next_best = wide[rows, labels], wide[rows, closest(logits, labels, 1)]
    fall = np.full(len(labels), np.nan)
    with np.errstate(all="ignore"):
        np.divide(next_best - own, np.square(wide).sum(axis=1), out=fall, where=own != 0)
    return fall


def closest(logits: Floats, labels: Ints, rank: int) -> Ints:
    """Return the class with the rank-th highest score besides the label, int64 (n,).

    Of equal scores the lower class comes first. Raises ValueError for a rank above K-1.
    """
    if rank >= logits.shape[1]:
        raise ValueError(
            f"there is no class of rank {rank} besides the label: the net has {logits.shape[1]}"
        )
    scores = logits.astype(np.float64)
    scores[np.arange(len(labels)), labels] = np.inf  # always the first
    return np.asarray(np.argsort(-scores, axis=1, kind="stable")[:, rank], np.int64)
