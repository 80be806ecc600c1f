"""How far must an image go in a direction until it is classified as something else?

    x(t) = clip(round(x + t u), 0, 255)        u = direction / max |direction|,  t = 0, 1, 2, ...

t, the amplitude, is a whole number of grey levels: the change of the pixel that changes most, so
Linf unless that pixel is clipped. All x(t) are uint8 images, points of the integer lattice; nothing
is adversarial here that would not be so after it was saved as an image.

Line search: t = 1, 2, 4, ... until x(t) is misclassified, or until it no longer changes, since
every pixel that moves has arrived at 0 or 255. Bisection in the last section then finds a t with
x(t) misclassified and x(t - 1) not. (Where classes change more than once on the way, a smaller t
can exist.)                                            Rozsa, Rudd and Boult, 2016, Section 4.3

All images search together: what is solved leaves the batch, so the net always runs full batches.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caffe_ext.classifier import Classifier, Floats, Images
from caffe_ext.directions import Ints

Bools = NDArray[np.bool_]
Amplitudes = NDArray[np.float64]
Success = Callable[[Ints, Ints], Bools]
"""(classes of some images, which images they are) -> whether the attack has reached its goal."""


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search found for N images.

    found         bool (N,)
    amplitudes    float64 (N,), whole numbers t; NaN where nothing was found
    adversarials  uint8 (N, C, H, W); the image as it was where nothing was found
    classes       int64 (N,), of the adversarials; -1 where nothing was found
    forwards      how many images went through the net
    """

    found: Bools
    amplitudes: Amplitudes
    adversarials: Images
    classes: Ints
    forwards: int


def misclassified(labels: Ints) -> Success:
    """Return the goal that is reached by any class but the label."""
    return lambda classes, which: classes != labels[which]


def reached(targets: Ints) -> Success:
    """Return the goal that is reached by the target class only."""
    return lambda classes, which: classes == targets[which]


def unit(directions: Floats) -> Floats:
    """Return directions (N, C, H, W) scaled to max |u| = 1 an image; 0 stays 0."""
    largest = np.abs(directions).max(axis=(1, 2, 3), keepdims=True, initial=0).astype(np.float64)
    # In float64, as the reciprocal of what float32 can hold overflows float32.
    return np.asarray(directions / np.where(largest > 0, largest, 1), np.float32)


def perturbed(images: Images, units: Floats, amplitudes: NDArray[np.floating]) -> Images:
    """Return x(t), uint8 (N, C, H, W), for an amplitude t >= 0 an image (N,).

    round() is to the nearest whole number, halves to the even one.
    """
    moved = units * np.asarray(amplitudes, np.float64)[:, None, None, None]
    moved += images
    np.rint(moved, out=moved)
    return np.asarray(np.clip(moved, 0, 255, out=moved).astype(np.uint8))


def saturation(images: Images, units: Floats) -> Amplitudes:
    """Return the amplitude from which on x(t) no longer changes, float64 (N,), whole numbers.

    max over the pixels with u != 0 of the way to 255 (u > 0) or to 0 (u < 0), over |u|
    """
    way = np.where(units > 0, 255 - images.astype(np.float64), images)
    amplitudes = np.divide(
        way, np.abs(units, dtype=np.float64), out=np.zeros_like(way), where=units != 0
    )
    return np.asarray(np.ceil(amplitudes.max(axis=(1, 2, 3), initial=0)))


class _Candidates:
    """The points x(t) of all images, and the net that is asked about them; counts the questions."""

    def __init__(
        self, classifier: Classifier, images: Images, directions: Floats, success: Success
    ) -> None:
        """Scale the directions."""
        self.images, self.units = images, np.empty(directions.shape, np.float32)
        self.limits = np.zeros(len(images))
        self.classes = np.full(len(images), -1, np.int64)
        self.forwards = 0
        self._classifier, self._success = classifier, success
        # A batch at a time, as the temporary arrays in float64 are then small.
        for part in self._batches(len(images)):
            self.units[part] = unit(directions[part])
            self.limits[part] = saturation(images[part], self.units[part])

    def images_at(self, which: Ints, amplitudes: Amplitudes) -> Images:
        """Return x(t) of some images."""
        return perturbed(self.images[which], self.units[which], amplitudes)

    def solved(self, which: Ints, amplitudes: Amplitudes) -> Bools:
        """Return which of these x(t) reach the goal; keep the classes of those that do."""
        results = np.zeros(len(which), np.bool_)
        for part in self._batches(len(which)):
            classes = self._classifier.predict(self.images_at(which[part], amplitudes[part]))
            results[part] = self._success(classes, which[part])
            self.classes[which[part]] = np.where(results[part], classes, self.classes[which[part]])
        self.forwards += len(which)
        return results

    def _batches(self, count: int) -> Iterator[slice]:
        """Cut `count` images into the net's batches."""
        step = self._classifier.batch_size
        return (slice(start, start + step) for start in range(0, count, step))


def line_search(
    classifier: Classifier,
    images: Images,
    directions: Floats,
    success: Success,
    scale: float = 1.0,
) -> SearchResult:
    """Find the smallest adversarial of each image in its direction; see above.

    images      uint8 (N, C, H, W), not changed
    directions  float32 (N, C, H, W), of any length; where all is 0, nothing is found
    success     the goal, `misclassified(labels)` mostly
    scale       above 1: hard positives, that many times as far as the smallest adversarial, found
                where that still reaches the goal; their amplitudes need not be whole numbers

    Raises ValueError for a scale below 1.
    """
    if not (np.isfinite(scale) and scale >= 1):
        raise ValueError(f"the scale of a hard positive must be at least 1, not {scale}")
    candidates = _Candidates(classifier, images, directions, success)
    amplitudes = _minimal(candidates)
    _confirm(candidates, amplitudes)
    if scale > 1:
        which = np.flatnonzero(~np.isnan(amplitudes))
        amplitudes *= scale
        solved = candidates.solved(which, amplitudes[which])
        amplitudes[which[~solved]] = np.nan
    return _result(candidates, amplitudes)


def _minimal(candidates: _Candidates) -> Amplitudes:
    """Return the smallest amplitudes that reach the goal; NaN where none does."""
    count = len(candidates.images)
    low, high = np.zeros(count), np.full(count, np.nan)
    active, step = np.flatnonzero(candidates.limits > 0), 1.0
    while len(active):
        amplitudes = np.minimum(step, candidates.limits[active])
        solved = candidates.solved(active, amplitudes)
        high[active[solved]] = amplitudes[solved]
        low[active[~solved]] = amplitudes[~solved]
        active = active[~solved & (amplitudes < candidates.limits[active])]
        step *= 2
    while True:
        middle = np.floor((low + high) / 2)
        # Beyond 2^53, where float64 does not have all whole numbers, the middle can be an end.
        active = np.flatnonzero((low < middle) & (middle < high))
        if not len(active):
            return high
        solved = candidates.solved(active, middle[active])
        high[active[solved]] = middle[active[solved]]
        low[active[~solved]] = middle[active[~solved]]


def fixed_epsilon(
    classifier: Classifier,
    images: Images,
    directions: Floats,
    epsilon: float,
    success: Success,
) -> SearchResult:
    """Go `epsilon` grey levels in each direction, and no further: found where that is enough.

    This is no search: where less would have been enough it still goes all the way.
    Raises ValueError for an epsilon that is not above 0.
    """
    if not (np.isfinite(epsilon) and epsilon > 0):
        raise ValueError(f"epsilon must be above 0 grey levels, not {epsilon}")
    candidates = _Candidates(classifier, images, directions, success)
    which = np.flatnonzero(candidates.limits > 0)
    amplitudes = np.full(len(images), np.nan)
    solved = candidates.solved(which, np.full(len(which), float(epsilon)))
    amplitudes[which[solved]] = epsilon
    return _result(candidates, amplitudes)


def _confirm(candidates: _Candidates, amplitudes: Amplitudes) -> None:
    """Ask about all that was found once more, in other batches; go on where the answer differs.

    The sums in a net can differ in their last bits from batch to batch, and a smallest adversarial
    lies beside the boundary: what is reported must not depend on that.
    """
    doubtful = np.flatnonzero(~np.isnan(amplitudes))
    while len(doubtful):
        lost = doubtful[~candidates.solved(doubtful, amplitudes[doubtful])]
        further = np.minimum(amplitudes[lost] + 1, candidates.limits[lost])
        amplitudes[lost] = np.where(further > amplitudes[lost], further, np.nan)
        doubtful = lost[~np.isnan(amplitudes[lost])]


def _result(candidates: _Candidates, amplitudes: Amplitudes) -> SearchResult:
    """Return the adversarials at these amplitudes; NaN: nothing was found."""
    found = ~np.isnan(amplitudes)
    which = np.flatnonzero(found)
    adversarials = candidates.images.copy()
    adversarials[which] = candidates.images_at(which, amplitudes[which])
    return SearchResult(
        found,
        amplitudes,
        adversarials,
        np.where(found, candidates.classes, -1),
        candidates.forwards,
    )
