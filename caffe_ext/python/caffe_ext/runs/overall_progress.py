"""One progress bar over several pieces of work, and an estimate of the time that they will take.

The estimate is measured: each attack is tried on a few of the images before the work starts.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from time import perf_counter
from typing import Self

import numpy as np

from caffe_ext.attacks.base import Attack
from caffe_ext.attacks.criteria import MISCLASSIFIED, CriterionKind
from caffe_ext.models.base import Model
from caffe_ext.reporting import Reporter, Step, format_duration
from caffe_ext.runs.runner import Batch, attack_images

_PARTS = 10_000
_SHARE, _MOST = 100, 8
_LONG = 60.0  # seconds


@dataclass(frozen=True)
class PlannedWork:
    """A piece of work that will announce its progress.

    what     as it will be announced
    images   how many will be processed
    seconds  that one of them is expected to take; None: unknown
    """

    what: str
    images: int
    seconds: float | None


def trial_size(count: int) -> int:
    """Return how many of `count` images to time attacks on: at most 8, and at most 1 in 100, so
    that the trial costs little.
    """
    return min(_MOST, count // _SHARE)


def time_attack(
    model: Model, attack: Attack, batch: Batch, criterion: CriterionKind = MISCLASSIFIED
) -> float | None:
    """Return how many seconds an attack takes for an image, with the distances and PASS.

    None if there is no image in the batch that can be attacked.
    """
    if not len(batch.images):
        return None
    began = perf_counter()
    records, _ = attack_images(model, attack, batch, criterion=criterion)
    attempted = int(records.attempted.sum())
    return (perf_counter() - began) / attempted if attempted else None


def report_estimate(planned: Sequence[PlannedWork], processes: int, reporter: Reporter) -> None:
    """Say how long the work may take if it is long, and if that is known."""
    known = [one.images * one.seconds for one in planned if one.seconds is not None]
    seconds = sum(known) / processes
    if len(known) == len(planned) and seconds >= _LONG:
        reporter.note(f"estimated time: up to {format_duration(seconds)}")


class OverallProgress:
    """A reporter, for a `with`, that shows the planned pieces of work as one bar.

    A piece moves the bar in proportion to the time that it is expected to take. Progress that is
    not in the plan is not shown; with an empty plan there is no bar. Notes and warnings are passed
    on.
    """

    def __init__(self, reporter: Reporter, title: str, planned: Sequence[PlannedWork]) -> None:
        """Open nothing yet."""
        self.note, self.warn = reporter.note, reporter.warn
        self._reporter, self._title = reporter, title
        known = [one.seconds for one in planned if one.seconds]
        usual = float(np.mean(known)) if known else 1.0
        self._left: dict[str, list[float]] = defaultdict(list)
        for one in planned:
            self._left[one.what].append(one.images * (one.seconds or usual))
        self._total = sum(map(sum, self._left.values()))
        self._done, self._shown, self._lock = 0.0, 0, Lock()

    def __enter__(self) -> Self:
        """Open the bar."""
        self._step: Step | None = None
        if self._total:
            self._bar = self._reporter.progress(self._title, _PARTS, "")
            self._step = self._bar.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the bar."""
        if self._step is not None:
            self._bar.__exit__(None, None, None)

    @contextmanager
    def progress(self, what: str, total: int, unit: str, done: int = 0) -> Iterator[Step]:
        """Begin a piece, whose steps move the bar; what it leaves out counts as done at its end."""
        weight = left = self._take(what)

        def step(number: int) -> None:
            nonlocal left
            moved = min(left, weight * number / (total - done)) if total > done else 0.0
            left -= moved
            self._advance(moved)

        yield step
        self._advance(left)

    def complete(self, whats: Iterable[str]) -> None:
        """Count pieces as done that turned out not to be needed."""
        for what in whats:
            self._advance(sum(self._left.pop(what, [])))

    def _take(self, what: str) -> float:
        """Return the weight of the next piece that is announced in this way."""
        with self._lock:
            weights = self._left.get(what)
            return weights.pop(0) if weights else 0.0

    def _advance(self, weight: float) -> None:
        """Move the bar; workers' progress comes from another thread."""
        if self._step is None:
            return
        with self._lock:
            self._done += weight
            shown = min(_PARTS, int(_PARTS * self._done / self._total + 1e-6))
            self._step(shown - self._shown)
            self._shown = shown
