"""Tasks of an evaluation, for any process: to classify the images, and to attack them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np

from caffe_ext.evaluation.plan import CLASSES
from caffe_ext.models.base import Ints
from caffe_ext.models.cache import load_cached
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.reporting import Reporter, Step
from caffe_ext.runs.records import AttackRecords
from caffe_ext.runs.runner import AttackRun, Source, count_images, run_attack
from caffe_ext.runtime.device import get_current_device
from caffe_ext.runtime.processor_time import count_cores

_READ_AT_A_TIME = 1000


@dataclass(frozen=True)
class Resources:
    """What the work may use; it does not change the results.

    batch_size  images in a net at a time
    jobs        processes; None: one for each core, or one that has the GPU and all cores
    """

    batch_size: int = 100
    jobs: int | None = None

    @property
    def cores(self) -> int:
        """Count the cores that this process may use."""
        return count_cores()

    @property
    def processes(self) -> int:
        """Count the processes."""
        return self.jobs or (1 if get_current_device().gpu is not None else self.cores)

    @property
    def cores_per_process(self) -> int:
        """Count the cores that each process may use."""
        return max(1, self.cores // self.processes)


@dataclass(frozen=True)
class PredictionTask:
    """The predictions of one model for all images, int64 (N,); for any process."""

    model: LoadableModel
    resources: Resources
    opener: Callable[[], Source]
    limit: int | None

    def __call__(self, reporter: Reporter) -> Ints:
        """Classify the images."""
        model, source = load_cached(self.model, self.resources.batch_size), self.opener()
        count = count_images(source, self.limit)
        parts = [np.empty(0, np.int64)]
        with NamedReporter(reporter, self.model.name).show_progress(
            CLASSES, count, "image"
        ) as step:
            for start in range(0, count, _READ_AT_A_TIME):
                rows = slice(start, min(start + _READ_AT_A_TIME, count))
                parts.append(model.predict(source.read(rows).images))
                step(rows.stop - rows.start)
        return np.concatenate(parts)


@dataclass(frozen=True, eq=False)
class AttackTask:
    """One attack on one model, for any process.

    predicted  int64, the predictions for all images
    label      title of its progress; by default, the name of the attack
    """

    model: LoadableModel
    resources: Resources
    opener: Callable[[], Source]
    run: AttackRun
    predicted: Ints
    label: str = ""

    def __call__(self, reporter: Reporter) -> AttackRecords:
        """Run the attack."""
        return run_attack(
            load_cached(self.model, self.resources.batch_size),
            self.opener(),
            self.run,
            NamedReporter(reporter, self.model.name, self.label),
            workers=self.resources.cores_per_process,
            predicted=self.predicted,
        )


@dataclass(frozen=True)
class NamedReporter:
    """A reporter that prefixes the titles of progress, or `label`, with the model's name."""

    reporter: Reporter
    name: str
    label: str = ""

    def note(self, text: str) -> None:
        """Pass a sentence on."""
        self.reporter.note(text)

    def warn(self, text: str) -> None:
        """Pass a sentence on."""
        self.reporter.warn(text)

    def show_progress(
        self, what: str, total: int, unit: str, done: int = 0
    ) -> AbstractContextManager[Step]:
        """Open a progress bar with the model's name."""
        return self.reporter.show_progress(f"{self.name}: {self.label or what}", total, unit, done)
