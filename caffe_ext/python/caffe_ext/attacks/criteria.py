"""Criteria: when is an image adversarial?

Misclassification          it is given any class but its label
TargetedMisclassification  it is given a certain class, which is not its label
TopKMisclassification      its label is not among the k classes with the largest logits

A criterion belongs to N images; `which`, int64 (n,), holds the numbers of some of them, and the
logits are theirs, float32 (n, K). An image with a NaN among its logits satisfies no criterion.
"""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caffe_ext.models.base import NO_CLASS, Floats, Ints, find_top_class

Bools = NDArray[np.bool_]
Margins = NDArray[np.float64]
NO_TARGET = -1


@dataclass(frozen=True, eq=False)
class Criterion(ABC):
    """What makes N images adversarial.

    labels  int64 (N,), the correct classes
    """

    labels: Ints

    @property
    def targets(self) -> Ints | None:
        """Return the classes that they must be given, int64 (N,); None: any of several will do."""
        return None

    @abstractmethod
    def is_satisfied(self, logits: Floats, which: Ints) -> Bools:
        """Return which of these images are adversarial, bool (n,)."""

    @abstractmethod
    def find_margin_classes(self, logits: Floats, which: Ints) -> tuple[Ints, Ints]:
        """Return classes a and b of each image, int64 (n,), between which the criterion decides.

        The criterion is satisfied where h_a < h_b, and may be satisfied where they are equal.
        """

    def compute_margins(self, logits: Floats, which: Ints) -> Margins:
        """Return by how much the logits h miss the criterion, h_a - h_b, float64 (n,).

        Below 0 the criterion is satisfied, at 0 it may be. NaN or infinite where a logit is.
        """
        above, below = self.find_margin_classes(logits, which)
        rows, wide = np.arange(len(logits)), logits.astype(np.float64)
        with np.errstate(invalid="ignore"):
            return np.asarray(wide[rows, above] - wide[rows, below])

    @abstractmethod
    def select(self, which: Ints) -> "Criterion":
        """Return the criterion of these images alone."""


@dataclass(frozen=True, eq=False)
class Misclassification(Criterion):
    """Any class but the label; the margin is h_label - max_{j != label} h_j."""

    def is_satisfied(self, logits: Floats, which: Ints) -> Bools:
        """Return where the class is not the label; images with a NaN have no class."""
        classes = find_top_class(logits)
        return np.asarray((classes != self.labels[which]) & (classes != NO_CLASS))

    def find_margin_classes(self, logits: Floats, which: Ints) -> tuple[Ints, Ints]:
        """Return the label and the class with the largest logit besides it."""
        labels = self.labels[which]
        return labels, find_largest_other_class(logits, labels)

    def select(self, which: Ints) -> "Misclassification":
        """Return the criterion of these images alone."""
        return Misclassification(self.labels[which])


@dataclass(frozen=True, eq=False)
class TargetedMisclassification(Criterion):
    """The target class; the margin is max_{j != target} h_j - h_target.

    target_classes  int64 (N,)
    """

    target_classes: Ints

    @property
    def targets(self) -> Ints:
        """Return the target classes."""
        return self.target_classes

    def is_satisfied(self, logits: Floats, which: Ints) -> Bools:
        """Return where the class is the target."""
        return np.asarray(find_top_class(logits) == self.target_classes[which])

    def find_margin_classes(self, logits: Floats, which: Ints) -> tuple[Ints, Ints]:
        """Return the class with the largest logit besides the target, and the target."""
        targets = self.target_classes[which]
        return find_largest_other_class(logits, targets), targets

    def select(self, which: Ints) -> "TargetedMisclassification":
        """Return the criterion of these images alone."""
        return TargetedMisclassification(self.labels[which], self.target_classes[which])


@dataclass(frozen=True, eq=False)
class TopKMisclassification(Criterion):
    """The label is not among the k classes with the largest logits; ties go to the lower class.

    The margin is h_label minus the k-th largest of the other logits. Satisfiable for 1 <= k < K.
    """

    k: int

    def __post_init__(self) -> None:
        """Raise ValueError for a k below 1."""
        if self.k < 1:
            raise ValueError(f"the k of a top-k criterion must be at least 1, not {self.k}")

    def is_satisfied(self, logits: Floats, which: Ints) -> Bools:
        """Return where k other classes come before the label."""
        labels = self.labels[which]
        own = logits[np.arange(len(logits)), labels][:, None]
        first = np.arange(logits.shape[1]) < labels[:, None]
        before = (logits > own) | ((logits == own) & first)
        return np.asarray((before.sum(axis=1) >= self.k) & ~np.isnan(logits).any(axis=1))

    def find_margin_classes(self, logits: Floats, which: Ints) -> tuple[Ints, Ints]:
        """Return the label and the class with the k-th largest logit besides it."""
        labels = self.labels[which]
        return labels, find_class_of_rank(logits, labels, self.k)

    def select(self, which: Ints) -> "TopKMisclassification":
        """Return the criterion of these images alone."""
        return TopKMisclassification(self.labels[which], self.k)


def find_largest_other_class(logits: Floats, classes: Ints) -> Ints:
    """Return the class with the largest logit besides one, int64 (n,); ties go to the lower."""
    others = logits.astype(np.float64)
    others[np.arange(len(logits)), classes] = -np.inf
    return np.asarray(others.argmax(axis=1), np.int64)


def find_class_of_rank(logits: Floats, labels: Ints, rank: int) -> Ints:
    """Return the class with the rank-th largest logit besides the label, int64 (n,).

    Of equal logits the lower class comes first. Raises ValueError for a rank above K-1.
    """
    classes = logits.shape[1]
    if rank >= classes:
        raise ValueError(
            f"the rank of the hot class can be at most {classes - 1}, not {rank}: the network has "
            f"{classes} classes"
        )
    scores = logits.astype(np.float64)
    scores[np.arange(len(labels)), labels] = np.inf  # always the first
    return np.asarray(np.argsort(-scores, axis=1, kind="stable")[:, rank], np.int64)


def find_closest_classes(logits: Floats, labels: Ints, most: int) -> list[Ints]:
    """Return the classes with the largest logits besides the label, the largest first.

    most  how many at most; each int64 (n,)
    """
    ranks = range(1, min(most, logits.shape[1] - 1) + 1)
    return [find_class_of_rank(logits, labels, rank) for rank in ranks]


@dataclass(frozen=True)
class CriterionKind(ABC):
    """A criterion without its images, as a setting of a run."""

    @property
    @abstractmethod
    def text(self) -> str:
        """Return the text that parse_criterion turns into this."""

    @property
    @abstractmethod
    def wording(self) -> str:
        """Describe what the attacker wants."""

    @abstractmethod
    def __call__(self, labels: Ints) -> Criterion:
        """Return the criterion of images with these labels, int64 (N,)."""

    def find_applicable(self, labels: Ints) -> Bools:
        """Return which images can become adversarial, bool (N,)."""
        return np.ones(len(labels), np.bool_)

    def check(self, classes: int) -> None:  # noqa: B027  any number of classes will do
        """Raise ValueError for a criterion that no image can satisfy with this many classes."""


@dataclass(frozen=True)
class MisclassificationKind(CriterionKind):
    """Any class but the label."""

    @property
    def text(self) -> str:
        """Return "misclassified"."""
        return "misclassified"

    @property
    def wording(self) -> str:
        """Describe what the attacker wants."""
        return "wants any other class"

    def __call__(self, labels: Ints) -> Misclassification:
        """Return the criterion of images with these labels."""
        return Misclassification(labels)


@dataclass(frozen=True)
class TargetedKind(CriterionKind):
    """One class, the target, for all images with another label."""

    target: int

    @property
    def text(self) -> str:
        """Return "targeted=7"."""
        return f"targeted={self.target}"

    @property
    def wording(self) -> str:
        """Describe what the attacker wants."""
        return f"wants class {self.target}"

    def __call__(self, labels: Ints) -> TargetedMisclassification:
        """Return the criterion of images with these labels."""
        return TargetedMisclassification(labels, np.full(len(labels), self.target, np.int64))

    def find_applicable(self, labels: Ints) -> Bools:
        """Return which images have another label."""
        return np.asarray(labels != self.target)

    def check(self, classes: int) -> None:
        """Raise ValueError for a target that is not a class."""
        if self.target >= classes:
            raise ValueError(f"the target class must be one of 0..{classes - 1}, not {self.target}")


@dataclass(frozen=True)
class TopKKind(CriterionKind):
    """A label that is not among the k classes with the largest logits."""

    k: int

    @property
    def text(self) -> str:
        """Return "top-k=5"."""
        return f"top-k={self.k}"

    @property
    def wording(self) -> str:
        """Describe what the attacker wants."""
        return f"wants the label out of the {self.k} classes with the largest logits"

    def __call__(self, labels: Ints) -> TopKMisclassification:
        """Return the criterion of images with these labels."""
        return TopKMisclassification(labels, self.k)

    def check(self, classes: int) -> None:
        """Raise ValueError for a k that leaves no other class."""
        if self.k >= classes:
            raise ValueError(
                f"the k of a top-k criterion can be at most {classes - 1}, not {self.k}: the "
                f"network has {classes} classes"
            )


MISCLASSIFIED = MisclassificationKind()


def parse_criterion(text: str) -> CriterionKind:
    """Return the criterion of "misclassified", "targeted=7" or "top-k=5"; ValueError for others."""
    found = re.fullmatch(r"(misclassified)|targeted=(\d+)|top-k=([1-9]\d*)", text.strip().lower())
    if found is None:
        raise ValueError(
            f"unknown criterion {text!r}; known criteria: misclassified, targeted=CLASS (its "
            "number), top-k=K"
        )
    if found[2] is not None:
        return TargetedKind(int(found[2]))
    return TopKKind(int(found[3])) if found[3] else MISCLASSIFIED
