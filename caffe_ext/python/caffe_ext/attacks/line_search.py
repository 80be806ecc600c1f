"""How far must an image go in a direction until it is classified as something else?

It goes along x(t), t = 0, 1, 2, ... (lattice.py), in three phases:

further   on until x(t) reaches the goal, or until it no longer changes, since every pixel that
          moves has arrived at 0 or 255. The first t is a little beyond where the margin's slope
          takes it to 0 (Newton's step), else 8; the next ones, where a straight line through the
          last two margins comes to 0, from 1.5 to 4 times the last one.
again     where nothing was found, at t = 1, 2, 4, ... 128, too.
between   the last section is cut where a straight line through the margins at its ends comes to 0
          (false position), in every other cut from the fourth on at its middle (bisection), until
          x(t) reaches the goal and x(t - 1) does not.

The margin is by how much the scores miss the goal (goals.py). It says where to look only; what is
reported, the classes decide. Where the class changes once on the way, that is the smallest t of
all, the same as by t = 1, 2, 4, ... and bisection (tests/python/search_reference.py), after a third
of the questions. Where classes change more than once, a smaller t can exist. Sums in a net differ
from batch to batch in their last bits: what is found within such a margin is asked about again.

                                                        Rozsa, Rudd and Boult, 2016, Section 4.3

All images search together: what is solved leaves the batch, so the net always runs full batches.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np

from caffe_ext.attacks.criteria import Bools, Goal, Margins
from caffe_ext.attacks.directions import Ints, Slopes
from caffe_ext.attacks.lattice import Amplitudes, next_amplitudes, perturbed, ways
from caffe_ext.models.classifier import Classifier, Floats, Images, highest

_FIRST, _WHOLE_RANGE = 8.0, 255.0
_LEAST_GROWTH, _MOST_GROWTH = 1.5, 4.0
_BEYOND = 0.2  # of the way that is left; most margins fall more slowly in the end
_ASIDE = 0.05  # towards the farther end of a section, so that the cut takes that away
_STRAIGHT_CUTS = 3
_LARGEST_SCALE = 1_000_000  # far beyond 255, and far from what float64 cannot hold
# Sums in a net differ from batch to batch by some 1e-6 of the scores.
_DOUBTFUL = 1e-4


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


class _Candidates:
    """The points x(t) of all images, and the net that is asked about them; counts the questions."""

    def __init__(
        self, classifier: Classifier, images: Images, directions: Floats, goal: Goal
    ) -> None:
        """Scale the directions."""
        # In one piece, or each question would copy all of them for the kernel.
        self.images = np.ascontiguousarray(images)
        way = ways(self.images, directions)
        self.units, self.limits = way.units, way.limits
        self.classes = np.full(len(images), -1, np.int64)
        self.largest_scores = np.zeros(len(images))
        self.forwards = 0
        self._classifier, self._goal = classifier, goal

    def images_at(self, which: Ints, amplitudes: Amplitudes) -> Images:
        """Return x(t) of some images."""
        return perturbed(self.images, self.units, amplitudes, which)

    def next_amplitudes(self, which: Ints, amplitudes: Amplitudes) -> Amplitudes:
        """Return from where on x(t) of some images is another image; NaN if it stays the same."""
        return next_amplitudes(self.images[which], self.units[which], amplitudes)

    def ask(self, which: Ints, amplitudes: Amplitudes) -> tuple[Bools, Margins]:
        """Return which of these x(t) reach the goal, and margins; keep the classes of those."""
        solved, margins = np.zeros(len(which), np.bool_), np.zeros(len(which))
        for part in self._batches(len(which)):
            mine = which[part]
            logits = self._classifier.logits(self.images_at(mine, amplitudes[part]))
            classes = highest(logits)
            solved[part] = self._goal.reached(classes, mine)
            margins[part] = self._goal.margins(logits, mine)
            self.classes[mine[solved[part]]] = classes[solved[part]]
            self.largest_scores[mine] = np.abs(logits).max(axis=1)
        self.forwards += len(which)
        return solved, margins

    def solved(self, which: Ints, amplitudes: Amplitudes) -> Bools:
        """Return which of these x(t) reach the goal; keep the classes of those that do."""
        return self.ask(which, amplitudes)[0]

    def _batches(self, images: int) -> Iterator[slice]:
        """Cut so many images into the net's batches."""
        step = self._classifier.batch_size
        return (slice(start, start + step) for start in range(0, images, step))


def check_scale(scale: float) -> None:
    """Raise ValueError unless the scale of a hard positive is from 1 to a million."""
    if not 1 <= scale <= _LARGEST_SCALE:
        raise ValueError(
            f"the scale of a hard positive must be from 1 to {_LARGEST_SCALE:,}, not {scale}"
        )


def line_search(  # noqa: PLR0913  they are independent of each other
    classifier: Classifier,
    images: Images,
    directions: Floats,
    goal: Goal,
    scale: float = 1.0,
    *,
    logits: Floats | None = None,
    slopes: Slopes | None = None,
) -> SearchResult:
    """Find the smallest adversarial of each image in its direction; see above.

    images      uint8 (N, C, H, W), not changed
    directions  float32 (N, C, H, W), of any length; where all is 0, nothing is found
    goal        `misclassified(labels)` mostly
    scale       above 1: hard positives, that many times as far as the smallest adversarial, found
                where that still reaches the goal; their amplitudes need not be whole numbers
    logits      float32 (N, K), the images' own, where they are known: that saves some questions
    slopes      float64 (N,), by how much the margin falls with the first grey levels, NaN where
                that is not known; with logits, saves some more

    Raises ValueError for a scale that check_scale refuses, and for directions that are not finite.
    """
    check_scale(scale)
    candidates = _Candidates(classifier, images, directions, goal)
    margins = np.full(len(images), np.nan)
    if logits is not None:
        margins = goal.margins(logits, np.arange(len(images)))
    if slopes is None:
        slopes = np.full(len(images), np.nan)
    sections = _narrowest(candidates, margins, slopes)
    amplitudes = _confirmed(candidates, sections)
    if scale > 1:
        which = np.flatnonzero(~np.isnan(amplitudes))
        amplitudes *= scale
        solved = candidates.solved(which, amplitudes[which])
        amplitudes[which[~solved]] = np.nan
    return _result(candidates, amplitudes)


@dataclass(frozen=True, eq=False)
class _Sections:
    """Of each image, the last amplitude that misses the goal, and the first that reaches it.

    float64 (N,) all, with the margins there; NaN: not known.
    """

    low: Amplitudes
    high: Amplitudes
    margin_low: Margins
    margin_high: Margins

    def ask(self, candidates: _Candidates, which: Ints, amplitudes: Amplitudes) -> Bools:
        """Return which x(t) of these images, each inside its section, reach the goal."""
        solved, margins = candidates.ask(which, amplitudes)
        ends = (self.low, self.margin_low, ~solved), (self.high, self.margin_high, solved)
        for end, margin, mine in ends:
            end[which[mine]], margin[which[mine]] = amplitudes[mine], margins[mine]
        return solved


def _narrowest(candidates: _Candidates, margins: Margins, slopes: Slopes) -> _Sections:
    """Return sections between whole numbers that follow each other; high is NaN without any.

    margins, slopes  at t = 0
    """
    unknown = np.full(len(margins), np.nan)
    sections = _Sections(np.zeros(len(margins)), unknown.copy(), margins, unknown)
    _go_further(candidates, sections, _first_steps(margins, slopes))
    _look_again(candidates, sections)
    _cut(candidates, sections)
    return sections


def _first_steps(margins: Margins, slopes: Slopes) -> Amplitudes:
    """Return the amplitudes to begin with, whole numbers; _FIRST where nothing is known."""
    with np.errstate(all="ignore"):
        steps = np.ceil((1 + _BEYOND) * margins / slopes)
    known = (margins > 0) & (slopes > 0)
    return np.where(known, np.clip(steps, 1, _WHOLE_RANGE), _FIRST)


def _go_further(candidates: _Candidates, sections: _Sections, first: Amplitudes) -> None:
    """Find an amplitude that reaches the goal for each image, and the last one before."""
    active = np.flatnonzero(candidates.limits > 0)
    amplitudes = np.minimum(first[active], candidates.limits[active])
    while len(active):
        low, margin = sections.low[active], sections.margin_low[active]
        solved = sections.ask(candidates, active, amplitudes)
        going_on = ~solved & (amplitudes < candidates.limits[active])
        active, step = active[going_on], (amplitudes - low)[going_on]
        amplitudes = amplitudes[going_on]
        before, now = margin[going_on], sections.margin_low[active]
        with np.errstate(all="ignore"):
            way = np.where(before > now, now * step / (before - now), np.inf)
        growth = np.clip(1 + (1 + _BEYOND) * way / amplitudes, _LEAST_GROWTH, _MOST_GROWTH)
        amplitudes = np.minimum(np.ceil(growth * amplitudes), candidates.limits[active])


def _look_again(candidates: _Candidates, sections: _Sections) -> None:
    """Ask t = 1, 2, 4, ... where nothing was found: the steps can have gone beyond it."""
    active = np.flatnonzero(np.isnan(sections.high) & (candidates.limits > 0))
    sections.low[active], sections.margin_low[active] = 0, np.nan
    amplitude = 1.0
    while len(active := active[amplitude < np.minimum(candidates.limits[active], _WHOLE_RANGE)]):
        solved = sections.ask(candidates, active, np.full(len(active), amplitude))
        active, amplitude = active[~solved], 2 * amplitude


def _cut(candidates: _Candidates, sections: _Sections) -> None:
    """Cut the sections until nothing lies between their ends."""
    for cuts in count():
        low, high = sections.low, sections.high
        middle = np.floor((low + high) / 2)
        # Beyond 2^53, where float64 does not have all whole numbers, the middle can be an end.
        active = np.flatnonzero((low < middle) & (middle < high))
        if not len(active):
            return
        amplitudes = middle
        if cuts < _STRAIGHT_CUTS or cuts % 2:
            straight = _false_position(sections)
            amplitudes = np.where((low < straight) & (straight < high), straight, middle)
        sections.ask(candidates, active, amplitudes[active])


def _false_position(sections: _Sections) -> Amplitudes:
    """Return where straight lines through the margins come to 0, whole numbers.

    Rounded towards the farther end and a little more. NaN where a margin is not a number.
    """
    low, high = sections.low, sections.high
    with np.errstate(all="ignore"):
        share = sections.margin_low / (sections.margin_low - sections.margin_high)
    near_low = share < 0.5
    share = np.where(near_low, share * (1 + _ASIDE), 1 - (1 - share) * (1 + _ASIDE))
    place = low + share * (high - low)
    return np.clip(np.where(near_low, np.ceil(place), np.floor(place)), low + 1, high - 1)


def fixed_epsilon(
    classifier: Classifier,
    images: Images,
    directions: Floats,
    epsilon: float,
    goal: Goal,
) -> SearchResult:
    """Go `epsilon` grey levels in each direction, and no further: found where that is enough.

    This is no search: where less would have been enough it still goes all the way.
    Raises ValueError for an epsilon that is not above 0, and for directions that are not finite.
    """
    if not (np.isfinite(epsilon) and epsilon > 0):
        raise ValueError(f"epsilon must be above 0 grey levels, not {epsilon}")
    candidates = _Candidates(classifier, images, directions, goal)
    which = np.flatnonzero(candidates.limits > 0)
    amplitudes = np.full(len(images), np.nan)
    solved = candidates.solved(which, np.full(len(which), float(epsilon)))
    amplitudes[which[solved]] = epsilon
    return _result(candidates, amplitudes)


def _confirmed(candidates: _Candidates, sections: _Sections) -> Amplitudes:
    """Return the upper ends; where the margin is no wider than rounding, ask once more, and go on.

    The sums in a net can differ in their last bits from batch to batch, and a smallest adversarial
    lies beside the boundary: what is reported must not depend on that.
    """
    amplitudes = sections.high.copy()
    clear = sections.margin_high < -_DOUBTFUL * candidates.largest_scores
    doubtful = np.flatnonzero(~np.isnan(amplitudes) & ~clear)
    while len(doubtful):
        lost = doubtful[~candidates.solved(doubtful, amplitudes[doubtful])]
        amplitudes[lost] = candidates.next_amplitudes(lost, amplitudes[lost])
        doubtful = lost[~np.isnan(amplitudes[lost])]
    return amplitudes


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
