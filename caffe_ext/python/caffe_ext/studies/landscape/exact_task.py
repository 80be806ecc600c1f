"""The exact widths of a minimum's logits for the few samples, kept after each sample.

More time later is spent on what is not exact yet.
"""

from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import numpy as np

from caffe_ext.reporting import Reporter
from caffe_ext.studies.landscape.network import Doubles
from caffe_ext.studies.landscape.samples import load_iris_samples
from caffe_ext.studies.landscape.search import Minimum
from caffe_ext.studies.landscape.sensitivity import (
    Box,
    compute_dual_bounds,
    measure_sensitivity,
)
from caffe_ext.studies.landscape.stationary import StationaryPoint
from caffe_ext.studies.landscape.store import (
    LandscapeStore,
    StoredWidths,
    read_widths,
    write_widths,
)
from caffe_ext.studies.landscape.widths import TOLERANCE, LogitRanges, WidthMethod, find_ranges

_EXACT = 2.01 * TOLERANCE
"""How far apart both ends of an exact width may be, relative to the width by the dual bound: by
TOLERANCE at each extreme, and rounding.
"""


@dataclass(frozen=True, eq=False)
class WidthTask:
    """A minimum whose logits' widths are wanted: picklable, to run in any process.

    sigma    radii over the features' ranges
    seconds  for each search
    """

    folder: Path
    key: str
    point: StationaryPoint
    sigma: float
    method: WidthMethod
    seconds: float

    @property
    def path(self) -> Path:
        """Return the file of the widths."""
        return LandscapeStore(self.folder).locate_widths(self.key, self.sigma, self.method)

    def __call__(self, reporter: Reporter) -> None:
        """Find and keep what is not there yet."""
        few = load_iris_samples().few.tolist()
        known = self.read() or StoredWidths([], [], [], 0.0)
        left = [number for number in few if self._may_be_narrowed(known, number)]
        with reporter.show_progress("exact widths", len(few), "box") as step:
            step(len(few) - len(left))
            for number in left:
                begin = monotonic()
                found = find_ranges(
                    (self.point.parameters, self.point.widths),
                    self._make_box(number),
                    self.method,
                    self.seconds,
                )
                known = self._add(known, number, found, monotonic() - begin)
                write_widths(self.path, known)
                step(1)

    def read(self) -> StoredWidths | None:
        """Return the widths that were found, if there are any."""
        if not self.path.exists():
            return None
        return read_widths(self.path, self.point.widths[-1])

    def _make_box(self, number: int) -> Box:
        samples = load_iris_samples()
        return Box(samples.inputs[number], self.sigma * samples.ranges)

    def _may_be_narrowed(self, known: StoredWidths, number: int) -> bool:
        """Tell whether a sample is new, or its widths are not exact and there is more time now."""
        if number not in known.samples:
            return True
        place = known.samples.index(number)
        if known.limits and known.limits[place] >= self.seconds:
            return False
        box = self._make_box(number)
        lower, upper = compute_dual_bounds(
            self.point.parameters, self.point.widths, box.centre[None], box.radii
        )
        apart = np.subtract(known.upper[place], known.lower[place])
        return bool((apart > _EXACT * (upper - lower)[0]).any())

    def _add(
        self, known: StoredWidths, number: int, found: LogitRanges, seconds: float
    ) -> StoredWidths:
        """Return what is known with what was found for a sample; both hold, where it has both."""
        samples, lower, upper = list(known.samples), list(known.lower), list(known.upper)
        limits = list(known.limits or [0.0] * len(samples))
        if number not in samples:
            samples.append(number)
            lower.append(found.lower.tolist())
            upper.append(found.upper.tolist())
            limits.append(0.0)
        place = samples.index(number)
        lower[place] = np.maximum(lower[place], found.lower).tolist()
        upper[place] = np.minimum(upper[place], found.upper).tolist()
        limits[place] = self.seconds
        return StoredWidths(samples, lower, upper, known.seconds + seconds, limits)


@dataclass(frozen=True)
class Overestimate:
    """By how much the dual bound exceeds the exact sensitivity of a minimum.

    dual, exact     means of S over the samples; exact: not exceeded
    reached         the mean of S by values that are reached: below it S cannot be
    relative        (dual - exact) / exact
    """

    number: int
    samples: int
    dual: float
    exact: float
    reached: float
    seconds: float

    @property
    def relative(self) -> float:
        """Return (dual - exact) / exact; infinite for an exact S of 0."""
        return (self.dual - self.exact) / self.exact if self.exact > 0 else np.inf


def measure_overestimate(minimum: Minimum, task: WidthTask) -> Overestimate | None:
    """Return the overestimate for the samples whose widths are known; None without any."""
    known = task.read()
    samples = load_iris_samples()
    if known is None or not known.samples or max(known.samples) >= len(samples.inputs):
        return None
    chosen: Doubles = samples.inputs[known.samples]
    point = minimum.point
    dual = measure_sensitivity(point.parameters, point.widths, chosen, task.sigma * samples.ranges)
    return Overestimate(
        minimum.number,
        len(known.samples),
        float(dual.mean()),
        float(np.prod(known.upper, axis=1).mean()),
        float(np.prod(known.lower, axis=1).mean()),
        known.seconds,
    )
