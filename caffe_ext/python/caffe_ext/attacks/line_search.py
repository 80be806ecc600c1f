"""How far must an image go in a direction until it is adversarial?

The search goes along x(t), t = 0, 1, 2, ... (lattice.py), in three phases:

further   until x(t) satisfies the criterion, or no longer changes because every pixel that moves
          has reached 0 or 255. The first t is a little beyond where the margin's slope takes it to
          0 (Newton's step), else 8; each next one is where a straight line through the last two
          margins reaches 0, kept within 1.5 to 4 times the last t.
again     where nothing was found, at t = 1, 2, 4, ... 128, too.
between   the last section is cut where a straight line through the margins at its ends reaches 0
          (false position), but in every other cut from the fourth on at its middle (bisection),
          until x(t) satisfies the criterion and x(t - 1) does not.

The margin is by how much the logits miss the criterion (criteria.py). It only says where to look:
the criterion decides what is reported. Where its answer changes once along x(t), that is the
smallest t of all, as doubling t and bisection would find (benchmarks/search_reference.py), with a
third of the queries. Where it changes more than once, a smaller t can exist. Sums in a net differ
from batch to batch in their last bits: what is found within such a margin is queried again.

                                                        Rozsa, Rudd and Boult, 2016, Section 4.3

All images are searched together: solved ones leave the batch, so the model always runs full ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np

from caffe_ext.attacks.base import AttackResult
from caffe_ext.attacks.criteria import Bools, Criterion, Margins
from caffe_ext.attacks.directions import Slopes
from caffe_ext.attacks.lattice import StepLengths, find_next_step_lengths, make_rays, step_along
from caffe_ext.models.base import NO_CLASS, Floats, Images, Ints, Model, find_top_class

_FIRST, _WHOLE_RANGE = 8.0, 255.0
_LEAST_GROWTH, _MOST_GROWTH = 1.5, 4.0
_BEYOND = 0.2  # of the remaining distance; most margins fall more slowly towards the end
_ASIDE = 0.05  # towards the farther end of a section, so that the cut removes that end
_STRAIGHT_CUTS = 3
_LARGEST_SCALE = 1_000_000  # far beyond 255, and far below what float64 cannot hold
# Sums in a net differ from batch to batch by some 1e-6 of the scores.
_DOUBTFUL = 1e-4


class _Candidates:
    """The points x(t) of all images, and the model that is queried about them."""

    def __init__(
        self, model: Model, images: Images, directions: Floats, criterion: Criterion
    ) -> None:
        """Scale the directions."""
        # Contiguous, or each query would copy all of them for the kernel.
        self.images = np.ascontiguousarray(images)
        way = make_rays(self.images, directions)
        self.units, self.limits = way.units, way.limits
        self.classes = np.full(len(images), NO_CLASS, np.int64)
        self.largest_scores = np.zeros(len(images))
        self.queries = 0
        self._model, self._criterion = model, criterion

    def make_images(self, which: Ints, step_lengths: StepLengths) -> Images:
        """Return x(t) of some images."""
        return step_along(self.images, self.units, step_lengths, which)

    def find_next_step_lengths(self, which: Ints, step_lengths: StepLengths) -> StepLengths:
        """Return the t at which x(t) of some images next changes; NaN if it never does."""
        return find_next_step_lengths(self.images[which], self.units[which], step_lengths)

    def query(self, which: Ints, step_lengths: StepLengths) -> tuple[Bools, Margins]:
        """Return which of these x(t) are adversarial, and the margins; store their classes."""
        solved, margins = np.zeros(len(which), np.bool_), np.zeros(len(which))
        for part in self._split_into_batches(len(which)):
            mine = which[part]
            logits = self._model.logits(self.make_images(mine, step_lengths[part]))
            classes = find_top_class(logits)
            solved[part] = self._criterion.is_satisfied(logits, mine)
            margins[part] = self._criterion.compute_margins(logits, mine)
            self.classes[mine[solved[part]]] = classes[solved[part]]
            self.largest_scores[mine] = np.abs(logits).max(axis=1)
        self.queries += len(which)
        return solved, margins

    def find_solved(self, which: Ints, step_lengths: StepLengths) -> Bools:
        """Return which of these x(t) satisfy the criterion; store the classes of those that do."""
        return self.query(which, step_lengths)[0]

    def _split_into_batches(self, images: int) -> Iterator[slice]:
        """Split this many images into the net's batches."""
        step = self._model.batch_size
        return (slice(start, start + step) for start in range(0, images, step))


def check_scale(scale: float) -> None:
    """Raise ValueError unless the scale of a hard positive is from 1 to a million."""
    if not 1 <= scale <= _LARGEST_SCALE:
        raise ValueError(
            f"the scale of a hard positive must be from 1 to {_LARGEST_SCALE:,}, not {scale}"
        )


def line_search(  # noqa: PLR0913  they are independent of each other
    model: Model,
    images: Images,
    directions: Floats,
    criterion: Criterion,
    scale: float = 1.0,
    *,
    logits: Floats | None = None,
    slopes: Slopes | None = None,
) -> AttackResult:
    """Find the smallest adversarial of each image in its direction; see above.

    images      uint8 (N, C, H, W), not changed
    directions  float32 (N, C, H, W), of any length; where all are 0, nothing is found
    criterion   of these images
    scale       above 1: hard positives, this many times as far as the smallest adversarial, found
                where they still satisfy the criterion; their step lengths need not be whole
                numbers
    logits      float32 (N, K), the images' own, if known: that saves some queries
    slopes      float64 (N,), by how much the margin falls per grey level at the image, NaN where
                that is not known; with logits, saves some more

    Raises ValueError for a scale that check_scale refuses, and for directions that are not finite.
    """
    check_scale(scale)
    candidates = _Candidates(model, images, directions, criterion)
    margins = np.full(len(images), np.nan)
    if logits is not None:
        margins = criterion.compute_margins(logits, np.arange(len(images)))
    if slopes is None:
        slopes = np.full(len(images), np.nan)
    sections = _find_narrowest_sections(candidates, margins, slopes)
    step_lengths = _confirm(candidates, sections)
    if scale > 1:
        which = np.flatnonzero(~np.isnan(step_lengths))
        step_lengths *= scale
        solved = candidates.find_solved(which, step_lengths[which])
        step_lengths[which[~solved]] = np.nan
    return _make_result(candidates, step_lengths)


@dataclass(frozen=True, eq=False)
class _Sections:
    """For each image, the largest t known to miss the criterion, and the smallest to satisfy it.

    All float64 (N,), with the margins there; NaN: not known.
    """

    low: StepLengths
    high: StepLengths
    margin_low: Margins
    margin_high: Margins

    def query(self, candidates: _Candidates, which: Ints, step_lengths: StepLengths) -> Bools:
        """Return which x(t), each inside its image's section, satisfy the criterion."""
        solved, margins = candidates.query(which, step_lengths)
        ends = (self.low, self.margin_low, ~solved), (self.high, self.margin_high, solved)
        for end, margin, mine in ends:
            end[which[mine]], margin[which[mine]] = step_lengths[mine], margins[mine]
        return solved


def _find_narrowest_sections(
    candidates: _Candidates, margins: Margins, slopes: Slopes
) -> _Sections:
    """Return sections between consecutive whole numbers; high is NaN where nothing is found.

    margins, slopes  at t = 0
    """
    unknown = np.full(len(margins), np.nan)
    sections = _Sections(np.zeros(len(margins)), unknown.copy(), margins, unknown)
    _go_further(candidates, sections, _choose_first_steps(margins, slopes))
    _look_again(candidates, sections)
    _cut(candidates, sections)
    return sections


def _choose_first_steps(margins: Margins, slopes: Slopes) -> StepLengths:
    """Return the step lengths to begin with, whole numbers; _FIRST where nothing is known."""
    with np.errstate(all="ignore"):
        steps = np.ceil((1 + _BEYOND) * margins / slopes)
    known = (margins > 0) & (slopes > 0)
    return np.where(known, np.clip(steps, 1, _WHOLE_RANGE), _FIRST)


def _go_further(candidates: _Candidates, sections: _Sections, first: StepLengths) -> None:
    """Find a step length that satisfies the criterion for each image, and the last one before."""
    active = np.flatnonzero(candidates.limits > 0)
    step_lengths = np.minimum(first[active], candidates.limits[active])
    while len(active):
        low, margin = sections.low[active], sections.margin_low[active]
        solved = sections.query(candidates, active, step_lengths)
        going_on = ~solved & (step_lengths < candidates.limits[active])
        active, step = active[going_on], (step_lengths - low)[going_on]
        step_lengths = step_lengths[going_on]
        before, now = margin[going_on], sections.margin_low[active]
        with np.errstate(all="ignore"):
            way = np.where(before > now, now * step / (before - now), np.inf)
        growth = np.clip(1 + (1 + _BEYOND) * way / step_lengths, _LEAST_GROWTH, _MOST_GROWTH)
        step_lengths = np.minimum(np.ceil(growth * step_lengths), candidates.limits[active])


def _look_again(candidates: _Candidates, sections: _Sections) -> None:
    """Query t = 1, 2, 4, ... where nothing was found: the steps may have skipped it."""
    active = np.flatnonzero(np.isnan(sections.high) & (candidates.limits > 0))
    sections.low[active], sections.margin_low[active] = 0, np.nan
    step_length = 1.0
    while len(active := active[step_length < np.minimum(candidates.limits[active], _WHOLE_RANGE)]):
        solved = sections.query(candidates, active, np.full(len(active), step_length))
        active, step_length = active[~solved], 2 * step_length


def _cut(candidates: _Candidates, sections: _Sections) -> None:
    """Cut the sections until nothing lies between their ends."""
    for cuts in count():
        low, high = sections.low, sections.high
        middle = np.floor((low + high) / 2)
        # Beyond 2^53, where float64 lacks some whole numbers, the middle can be an end.
        active = np.flatnonzero((low < middle) & (middle < high))
        if not len(active):
            return
        step_lengths = middle
        if cuts < _STRAIGHT_CUTS or cuts % 2:
            straight = _interpolate_linearly(sections)
            step_lengths = np.where((low < straight) & (straight < high), straight, middle)
        sections.query(candidates, active, step_lengths[active])


def _interpolate_linearly(sections: _Sections) -> StepLengths:
    """Return where straight lines through the margins reach 0, in whole numbers.

    Moved a little towards the farther end and rounded to it. NaN where a margin is not a number.
    """
    low, high = sections.low, sections.high
    with np.errstate(all="ignore"):
        share = sections.margin_low / (sections.margin_low - sections.margin_high)
    near_low = share < 0.5
    share = np.where(near_low, share * (1 + _ASIDE), 1 - (1 - share) * (1 + _ASIDE))
    place = low + share * (high - low)
    return np.clip(np.where(near_low, np.ceil(place), np.floor(place)), low + 1, high - 1)


def take_step(
    model: Model,
    images: Images,
    directions: Floats,
    epsilon: float,
    criterion: Criterion,
) -> AttackResult:
    """Go exactly `epsilon` grey levels in each direction: found where that is adversarial.

    There is no search: the step is the same where a shorter one would do.
    Raises ValueError for an epsilon that is not above 0, and for directions that are not finite.
    """
    if not (np.isfinite(epsilon) and epsilon > 0):
        raise ValueError(f"epsilon must be above 0 grey levels, not {epsilon}")
    candidates = _Candidates(model, images, directions, criterion)
    which = np.flatnonzero(candidates.limits > 0)
    step_lengths = np.full(len(images), np.nan)
    solved = candidates.find_solved(which, np.full(len(which), float(epsilon)))
    step_lengths[which[solved]] = epsilon
    return _make_result(candidates, step_lengths)


def _confirm(candidates: _Candidates, sections: _Sections) -> StepLengths:
    """Return the upper ends; those within rounding of the boundary are queried again and, if lost,
    moved on.

    The sums in a net can differ in their last bits from batch to batch, and a smallest adversarial
    lies next to the boundary: what is reported must not depend on that.
    """
    step_lengths = sections.high.copy()
    clear = sections.margin_high < -_DOUBTFUL * candidates.largest_scores
    doubtful = np.flatnonzero(~np.isnan(step_lengths) & ~clear)
    while len(doubtful):
        lost = doubtful[~candidates.find_solved(doubtful, step_lengths[doubtful])]
        step_lengths[lost] = candidates.find_next_step_lengths(lost, step_lengths[lost])
        doubtful = lost[~np.isnan(step_lengths[lost])]
    return step_lengths


def _make_result(candidates: _Candidates, step_lengths: StepLengths) -> AttackResult:
    """Return the adversarials at these step lengths; NaN: nothing was found."""
    found = ~np.isnan(step_lengths)
    which = np.flatnonzero(found)
    adversarials = candidates.images.copy()
    adversarials[which] = candidates.make_images(which, step_lengths[which])
    return AttackResult(
        found,
        adversarials,
        np.where(found, candidates.classes, NO_CLASS),
        step_lengths,
        candidates.queries,
    )
