"""What an attack wants: any class but the label, or one class in particular."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caffe_ext.attacks.directions import Ints
from caffe_ext.models.classifier import NO_CLASS, Floats

Bools = NDArray[np.bool_]
Margins = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Goal:
    """What an attack wants N images to be classified as.

    classes  int64 (N,)
    avoided  whether that is any class but these; else, it is these
    """

    classes: Ints
    avoided: bool

    def reached(self, answers: Ints, which: Ints) -> Bools:
        """Return which of these answers of the net, int64 (n,), for images `which`, (n,), do.

        NO_CLASS is no answer.
        """
        there = (answers == self.classes[which]) != self.avoided
        return np.asarray(there & (answers != NO_CLASS))

    def margins(self, logits: Floats, which: Ints) -> Margins:
        """Return by how much the scores, (n, K), miss the goal, float64 (n,).

            h_class - max_{j != class} h_j        for a class to avoid, less that for one to reach

        Below 0 the goal is reached, at 0 it may be; of equal scores the first one wins.
        """
        scores, rows = logits.astype(np.float64), np.arange(len(logits))
        own = scores[rows, self.classes[which]]
        scores[rows, self.classes[which]] = -np.inf
        with np.errstate(invalid="ignore"):
            lead = own - scores.max(axis=1, initial=-np.inf)
        return np.asarray(lead if self.avoided else -lead)


def misclassified(labels: Ints) -> Goal:
    """Return the goal that is reached by any class but the label."""
    return Goal(labels, avoided=True)


def reached(targets: Ints) -> Goal:
    """Return the goal that is reached by the target class only."""
    return Goal(targets, avoided=False)
