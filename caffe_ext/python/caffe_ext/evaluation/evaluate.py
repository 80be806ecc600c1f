"""Evaluate how robust models are: attacks, random noise, and signs of masked gradients.

All models are asked about the same images. What lies in the folder when it is done:

<model>/<attack>.h5       the records of each image and the adversarials (records.py)
<model>/probe-<n>/        the iterated attacks that single steps are held against, on n images
<model>/noise-<x>.json    how often noise changes the class; x: the digest of what it depends on

All of it goes on where it was, and what is there already is read.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caffe_ext.attacks.base import Attack
from caffe_ext.evaluation.masking import Probe
from caffe_ext.evaluation.noise import NoiseTask, pick_images
from caffe_ext.evaluation.probe import hold_against, iterated, probe_radius
from caffe_ext.evaluation.result import ModelEvaluation, Settings, gathered
from caffe_ext.evaluation.stability import NoiseStability
from caffe_ext.models.description import ModelDescription
from caffe_ext.reporting import Reporter, Step
from caffe_ext.runs.export import identity, plain_name
from caffe_ext.runs.records import AttackRecords
from caffe_ext.runs.runner import AttackRun, Source, run_attack
from caffe_ext.runs.summary import FGS, LOGIT
from caffe_ext.runtime.device import current
from caffe_ext.runtime.workers import Workers


@dataclass(frozen=True)
class ImageSet:
    """The images that all models are asked about.

    opener    opens them, in another process, too: picklable
    digest    of all of them
    labelled  whether they have labels
    """

    opener: Callable[[], Source]
    digest: str
    labelled: bool


@dataclass(frozen=True)
class Resources:
    """What the work may take, and what does not change its results.

    batch_size  images in a net at a time
    jobs        processes; None: one for each core, or one that has the GPU and all cores
    """

    batch_size: int = 100
    jobs: int | None = None

    @property
    def cores(self) -> int:
        """Count the cores that this process may use."""
        return len(os.sched_getaffinity(0))

    @property
    def processes(self) -> int:
        """Count the processes."""
        return self.jobs or (1 if current().gpu is not None else self.cores)


@dataclass(frozen=True)
class AttackTask:
    """One attack on one model, for any process."""

    model: ModelDescription
    resources: Resources
    opener: Callable[[], Source]
    run: AttackRun

    def __call__(self, reporter: Reporter) -> AttackRecords:
        """Run the attack."""
        threads = max(1, self.resources.cores // self.resources.processes)
        return run_attack(
            self.model.load(self.resources.batch_size),
            self.opener(),
            self.run,
            _Named(reporter, self.model.name),
            workers=threads,
        )


@dataclass(frozen=True)
class _Named:
    """A reporter that puts the model's name before what is in progress."""

    reporter: Reporter
    name: str

    def note(self, text: str) -> None:
        """Pass a sentence on."""
        self.reporter.note(text)

    def warn(self, text: str) -> None:
        """Pass a sentence on."""
        self.reporter.warn(text)

    def progress(
        self, what: str, total: int, unit: str, done: int = 0
    ) -> AbstractContextManager[Step]:
        """Open a progress bar with the model's name."""
        return self.reporter.progress(f"{self.name}: {what}", total, unit, done)


@dataclass(frozen=True)
class Evaluator:
    """The models, the images, the settings, and the folder for all that comes out.

    models  with names that differ
    """

    models: Sequence[ModelDescription]
    images: ImageSet
    settings: Settings
    folder: Path
    resources: Resources = Resources()

    def evaluate(self, reporter: Reporter) -> tuple[ModelEvaluation, ...]:
        """Do all that is not done yet; return what came out for each model.

        Raises RecordError if the folder holds the results of something else, ValueError for
        attacks that a model does not have, WorkerError if a process ends unasked.
        """
        attacks = self.attacks()
        with Workers(self.resources.processes, reporter) as workers:
            records = self._records(attacks, workers)
            probes = self._probes(records, workers)
            rows, noise = self._noise(records, workers, reporter)
        return tuple(
            gathered(
                model,
                attacks[model.name],
                records[model.name],
                probe=probes.get(model.name),
                noise=noise.get(model.name),
                noise_rows=rows,
                labelled=self.images.labelled,
            )
            for model in self.models
        )

    def identity(self) -> dict[str, Any]:
        """Return what a report of this is about: models, images, limit and seed."""
        models = {model.name: self._identity(model) for model in self.models}
        return {"models": models, "limit": self.settings.limit, "seed": self.settings.seed}

    def _identity(self, model: ModelDescription) -> dict[str, Any]:
        """Return what results of a model depend on."""
        return identity(model, self.images.digest, labelled=self.images.labelled)

    def _folder(self, model: ModelDescription) -> Path:
        """Return the folder of a model's results."""
        return self.folder / plain_name(model.name)

    def attacks(self) -> dict[str, tuple[Attack, ...]]:
        """Return the attacks on each model, after each was tried on one image.

        So that what cannot be done is said before the work begins. Raises ValueError.
        """
        first = self.images.opener().read(slice(0, 1)).images
        attacks = {}
        for model in self.models:
            classifier = model.load(1)
            attacks[model.name] = self.settings.attacks(classifier.classes)
            for attack in attacks[model.name]:
                try:
                    classifier.predict(first)
                    attack.check(classifier)
                except ValueError as error:
                    raise ValueError(f"{model.name}, {attack.text}: {error}") from error
        return attacks

    def _task(self, model: ModelDescription, attack: Attack, **changes: Any) -> AttackTask:
        """Return the task of an attack on a model."""
        settings = {
            "folder": self._folder(model),
            "limit": self.settings.limit,
            "again": self.settings.again,
        }
        run = AttackRun(attack, self._identity(model), **(settings | changes))
        return AttackTask(model, self.resources, self.images.opener, run)

    def _records(
        self, attacks: Mapping[str, Sequence[Attack]], workers: Workers
    ) -> dict[str, dict[str, AttackRecords]]:
        """Return the records of all attacks by model and text."""
        tasks = [self._task(model, one) for model in self.models for one in attacks[model.name]]
        found: dict[str, dict[str, AttackRecords]] = {model.name: {} for model in self.models}
        results = workers.run(tasks)
        for task, records in zip(tasks, results, strict=True):
            found[task.model.name][task.run.attack.text] = records
        return found

    def _probes(
        self, records: Mapping[str, Mapping[str, AttackRecords]], workers: Workers
    ) -> dict[str, Probe]:
        """Hold iterated attacks against single steps, for each model that has a radius for it."""
        radii = {name: probe_radius(found[LOGIT], self.settings) for name, found in records.items()}
        count = min(self.settings.probe, len(next(iter(records.values()))[FGS]))
        tasks = [
            self._task(model, attack, folder=self._folder(model) / f"probe-{count}", limit=count)
            for model in self.models
            if (radius := radii[model.name])
            for attack in iterated(radius)
        ]
        results = workers.run(tasks)
        found = {}
        for task, loss, margin in zip(tasks[::2], results[::2], results[1::2], strict=True):
            name = task.model.name
            found[name] = hold_against(radii[name] or 0.0, records[name], loss, margin)
        return found

    def _noise(
        self,
        records: Mapping[str, Mapping[str, AttackRecords]],
        workers: Workers,
        reporter: Reporter,
    ) -> tuple[Any, dict[str, NoiseStability]]:
        """Return stability to noise, on images that all models get right; and which they are."""
        settings, found = self.settings, [one[FGS] for one in records.values()]
        if settings.noise is None:
            return np.empty(0, np.int64), {}
        eligible = np.flatnonzero(np.all([one.attempted for one in found], axis=0))
        rows = pick_images(found[0].labels, eligible, settings.noise.per_class, settings.seed)
        if not len(rows):
            reporter.warn("no noise: there is no image that all models classify correctly")
            return rows, {}
        tasks = [
            NoiseTask(
                model,
                self.resources.batch_size,
                self.images.opener,
                self._identity(model),
                rows,
                records[model.name][FGS].labels[rows],
                settings.noise,
                settings.seed,
                self._folder(model),
                settings.again,
            )
            for model in self.models
        ]
        results = workers.run(tasks)
        return rows, {model.name: one for model, one in zip(self.models, results, strict=True)}
