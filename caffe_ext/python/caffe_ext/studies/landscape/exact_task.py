"""The exact widths of a minimum's logits for the few samples, kept after each sample."""

from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

import numpy as np

from caffe_ext.reporting import Reporter
from caffe_ext.studies.landscape.network import Doubles
from caffe_ext.studies.landscape.samples import load_iris_samples
from caffe_ext.studies.landscape.search import Minimum
from caffe_ext.studies.landscape.sensitivity import Box, measure_sensitivity
from caffe_ext.studies.landscape.stationary import StationaryPoint
from caffe_ext.studies.landscape.store import (
    LandscapeStore,
    StoredWidths,
    read_widths,
    write_widths,
)
from caffe_ext.studies.landscape.widths import WidthMethod, find_ranges


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
        samples = load_iris_samples()
        radii = self.sigma * samples.ranges
        few = samples.few.tolist()
        known = self.read() or StoredWidths([], [], [], 0.0)
        with reporter.show_progress("exact widths", len(few), "box") as step:
            step(len(known.samples))
            for number in few:
                if number in known.samples:
                    continue
                begin = monotonic()
                found = find_ranges(
                    (self.point.parameters, self.point.widths),
                    Box(samples.inputs[number], radii),
                    self.method,
                    self.seconds,
                )
                known = replace(
                    known,
                    samples=[*known.samples, number],
                    lower=[*known.lower, found.lower.tolist()],
                    upper=[*known.upper, found.upper.tolist()],
                    seconds=known.seconds + monotonic() - begin,
                )
                write_widths(self.path, known)
                step(1)

    def read(self) -> StoredWidths | None:
        """Return the widths that were found, if there are any."""
        if not self.path.exists():
            return None
        return read_widths(self.path, self.point.widths[-1])


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
