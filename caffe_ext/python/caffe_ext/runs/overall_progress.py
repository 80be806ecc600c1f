"""One progress bar over several pieces of work, and an estimate of the time that they will take.

The estimate is measured: each attack is tried on a few of the images before the work starts, and
timed in processor time.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Self

import numpy as np

from caffe_ext.attacks.base import Attack
from caffe_ext.attacks.criteria import MISCLASSIFIED, CriterionKind
from caffe_ext.models.base import Model
from caffe_ext.reporting import Reporter, Step, format_duration
from caffe_ext.runs.records import AttackRecords
from caffe_ext.runs.runner import Batch, attack_images
from caffe_ext.runtime.device import get_current_device
from caffe_ext.runtime.processor_time import Stopwatch, count_cores

_PARTS = 10_000
_SHARE, _MOST = 50, 20
_LONG = 60.0  # seconds


@dataclass(frozen=True)
class PlannedWork:
    """A piece of work that will report its progress.

    what     the title under which it will report
    images   how many will be processed
    seconds  that one of them is expected to take on one worker; None: unknown
    stage    pieces of the same stage can be worked on at the same time; stages follow each other
    """

    what: str
    images: int
    seconds: float | None
    stage: str = ""


def choose_trial_size(count: int) -> int:
    """Return how many of `count` images to time attacks on: at most 20, and at most 1 in 50, so
    that the trial costs little.
    """
    return min(_MOST, count // _SHARE)


@dataclass(frozen=True)
class Trial:
    """An attack that was tried on a few images.

    seconds  per attacked image, with the distances and PASS
    """

    seconds: float
    records: AttackRecords


def time_attack(
    model: Model,
    attack: Attack,
    batch: Batch,
    criterion: CriterionKind = MISCLASSIFIED,
    cores: int | None = None,
) -> Trial | None:
    """Try an attack on a few images.

    cores  that it may use; None: all

    None if there is no image in the batch that can be attacked.
    """
    if not len(batch.images):
        return None
    watch = Stopwatch(cores)
    records, _ = attack_images(model, attack, batch, workers=cores, criterion=criterion)
    seconds, attempted = watch.seconds, int(records.attempted.sum())
    return Trial(seconds / attempted, records) if attempted else None


def report_estimate(planned: Sequence[PlannedWork], processes: int, reporter: Reporter) -> None:
    """Report roughly how long the work will take, if that is long, and known.

    processes  that run in parallel
    """
    if any(one.seconds is None for one in planned):
        return
    seconds = _estimate_duration(planned, min(processes, count_cores()))
    if seconds >= _LONG:
        on = "" if get_current_device().gpu is not None else f", on {_name_cores(count_cores())}"
        reporter.note(f"estimated time: {format_duration(seconds)}{on}")


def _estimate_duration(planned: Sequence[PlannedWork], workers: int) -> float:
    """Return the seconds of the work; a stage takes at least as long as its longest piece."""
    stages: dict[str, list[float]] = defaultdict(list)
    for one in planned:
        stages[one.stage].append(one.images * (one.seconds or 0.0))
    return sum(max(sum(stage) / workers, *stage) for stage in stages.values())


def _name_cores(cores: int) -> str:
    return "an idle core" if cores == 1 else f"{cores} idle cores"


class OverallProgress:
    """A reporter, for a `with`, that shows the planned pieces of work as one bar.

    Each piece moves the bar in proportion to its expected time. Unplanned progress is not shown;
    with an empty plan there is no bar. Notes and warnings are passed on.
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
            self._bar = self._reporter.show_progress(self._title, _PARTS, "")
            self._step = self._bar.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the bar."""
        if self._step is not None:
            self._bar.__exit__(None, None, None)

    @contextmanager
    def show_progress(self, what: str, total: int, unit: str, done: int = 0) -> Iterator[Step]:
        """Begin a piece, whose steps move the bar; at its end, it counts as done completely."""
        weight = left = self._take(what)

        def step(number: int) -> None:
            nonlocal left
            moved = min(left, weight * number / (total - done)) if total > done else 0.0
            left -= moved
            self._advance(moved)

        yield step
        self._advance(left)

    def complete(self, whats: Iterable[str]) -> None:
        """Mark pieces as done that turned out to be unnecessary."""
        for what in whats:
            self._advance(sum(self._left.pop(what, [])))

    def _take(self, what: str) -> float:
        """Return the weight of the next piece with this title."""
        with self._lock:
            weights = self._left.get(what)
            return weights.pop(0) if weights else 0.0

    def _advance(self, weight: float) -> None:
        """Move the bar; workers report their progress in another thread."""
        if self._step is None:
            return
        with self._lock:
            self._done += weight
            shown = min(_PARTS, int(_PARTS * self._done / self._total + 1e-6))
            self._step(shown - self._shown)
            self._shown = shown
