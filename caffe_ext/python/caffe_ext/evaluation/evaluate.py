"""Evaluate how robust models are: attacks, random noise, and signs of masked gradients.

All models are asked about the same images. What lies in the folder when it is done:

<model>/<attack>.h5       the records of each image and the adversarials (records.py)
<model>/within-<norm>-<radius>/
                          the attacks of the cascade, each on what the ones before have left
<model>/probe-<n>/        the iterated attacks that single steps are held against, on n images
<model>/noise-<x>.json    how often noise changes the class; x: the digest of what it depends on

All of it goes on where it was, and what is there already is read. Each process loads a model once,
and what the images are classified as is computed once.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from caffe_ext.attacks.base import Attack
from caffe_ext.attacks.budget import PerturbationBudget, whole_radius_remark
from caffe_ext.evaluation.attackability import AttackabilityTask
from caffe_ext.evaluation.masking import Probe
from caffe_ext.evaluation.noise import NoiseTask, pick_images
from caffe_ext.evaluation.plan import CASCADE, CLASSES, NOISE, PROBE, ModelPlan
from caffe_ext.evaluation.probe import compare_with_single_steps, iterated_attacks, probe_radius
from caffe_ext.evaluation.result import (
    ModelEvaluation,
    Settings,
    correctly_classified,
    put_together,
)
from caffe_ext.evaluation.robustness import RobustAccuracy, after_stage, robust_within
from caffe_ext.evaluation.stability import NoiseStability
from caffe_ext.evaluation.suite import Suite
from caffe_ext.models.base import Ints
from caffe_ext.models.cache import forget_cached, load_cached
from caffe_ext.models.description import ModelDescription
from caffe_ext.reporting import Reporter, Step
from caffe_ext.runs.export import identity, plain_name
from caffe_ext.runs.overall_progress import OverallProgress, PlannedWork, report_estimate
from caffe_ext.runs.pictures.images import FinishedAttack
from caffe_ext.runs.records import AttackRecords
from caffe_ext.runs.runner import AttackRun, Source, load_finished, run_attack
from caffe_ext.runtime.device import current
from caffe_ext.runtime.workers import Workers

_READ_AT_A_TIME = 1000


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
class PredictionTask:
    """What all images are classified as, int64 (N,), by one model; for any process."""

    model: ModelDescription
    resources: Resources
    opener: Callable[[], Source]
    limit: int | None

    def __call__(self, reporter: Reporter) -> Ints:
        """Classify the images."""
        model, source = load_cached(self.model, self.resources.batch_size), self.opener()
        count = len(source) if self.limit is None else min(self.limit, len(source))
        parts = [np.empty(0, np.int64)]
        with _Named(reporter, self.model.name).progress(CLASSES, count, "image") as step:
            for start in range(0, count, _READ_AT_A_TIME):
                rows = slice(start, min(start + _READ_AT_A_TIME, count))
                parts.append(model.predict(source.read(rows).images))
                step(rows.stop - rows.start)
        return np.concatenate(parts)


@dataclass(frozen=True, eq=False)
class AttackTask:
    """One attack on one model, for any process.

    predicted  int64, what all images are classified as
    label      how its progress is announced; by default, as the name of the attack
    """

    model: ModelDescription
    resources: Resources
    opener: Callable[[], Source]
    run: AttackRun
    predicted: Ints
    label: str = ""

    def __call__(self, reporter: Reporter) -> AttackRecords:
        """Run the attack."""
        threads = max(1, self.resources.cores // self.resources.processes)
        return run_attack(
            load_cached(self.model, self.resources.batch_size),
            self.opener(),
            self.run,
            _Named(reporter, self.model.name, self.label),
            workers=threads,
            predicted=self.predicted,
        )


@dataclass(frozen=True)
class _Named:
    """A reporter that puts the model's name before what is in progress, or before `label`."""

    reporter: Reporter
    name: str
    label: str = ""

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
        return self.reporter.progress(f"{self.name}: {self.label or what}", total, unit, done)


Records = Mapping[str, AttackRecords]
"""Of each attack, by its text."""


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

        There is one progress bar for all, and before a long run an estimate of its time.

        Raises RecordError if the folder holds the results of something else, ValueError for
        attacks that a model does not have, WorkerError if a worker process dies.
        """
        suites = self.suites
        finished = self._finished(suites)
        planned = self._plan(suites, finished)
        report_estimate(planned, self.resources.processes, reporter)
        if self.resources.processes > 1:
            forget_cached()  # the workers load their own
        with (
            OverallProgress(reporter, "evaluation", planned) as progress,
            Workers(self.resources.processes, progress) as workers,
        ):
            predicted = self._predictions(finished, workers)
            records = self._records(suites, finished, predicted, workers)
            robust = self._robust(suites, predicted, records, workers)
            checks = workers.run(
                [
                    AttackabilityTask(model, self.resources.batch_size, self.images.opener)
                    for model in self.models
                ]
            )
            progress.complete(f"{model.name}: {CASCADE}" for model in self.models)
            probes = self._probes(suites, predicted, records, workers)
            progress.complete(f"{model.name}: {PROBE}" for model in self.models)
            rows, noise = self._noise(records, workers, reporter)
        forget_cached()
        return tuple(
            put_together(
                model,
                suites[model.name],
                records[model.name],
                robust=robust[model.name],
                probe=probes.get(model.name),
                noise=noise.get(model.name),
                noise_rows=rows,
                labelled=self.images.labelled,
                attackability=check,
            )
            for model, check in zip(self.models, checks, strict=True)
        )

    @property
    def remarks(self) -> tuple[str, ...]:
        """Return what the attacks and the budgets of all models say about themselves, each once."""
        found: dict[str, None] = {}
        for suite in self.suites.values():
            within = [one for budget in suite.radii for one in suite.cascade_within(budget)]
            for attack in (*suite.attacks, *within):
                found |= dict.fromkeys(attack.remarks)
            for budget in suite.radii:
                found |= dict.fromkeys(whole_radius_remark(budget))
        return tuple(found)

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

    def _within(self, model: ModelDescription, budget: PerturbationBudget) -> Path:
        """Return the folder of the cascade within a budget."""
        return self._folder(model) / f"within-{budget.norm}-{budget.epsilon:g}"

    def _probe(self, model: ModelDescription, images: int) -> Path:
        """Return the folder of the iterated attacks on so many images."""
        return self._folder(model) / f"probe-{images}"

    @cached_property
    def suites(self) -> dict[str, Suite]:
        """The suite of each model, after the model and each attack were tried on one image.

        So that what cannot be done is said before the work begins. Raises ValueError.
        """
        first = self.images.opener().read(slice(0, 1)).images
        suites = {}
        for description in self.models:
            model = load_cached(description, self.resources.batch_size)
            suite = self.settings.suite(model.classes, first.shape[1])
            suite = suites[description.name] = replace(suite, classes=model.classes)
            try:
                model.predict(first)
            except ValueError as error:
                raise ValueError(f"{description.name}: {error}") from error
            within = [one for budget in suite.radii for one in suite.cascade_within(budget)]
            for attack in (*suite.attacks, *within):
                try:
                    attack.check(model)
                except ValueError as error:
                    raise ValueError(f"{description.name}, {attack.text}: {error}") from error
        return suites

    def finished(self, evaluation: ModelEvaluation) -> list[FinishedAttack]:
        """Return the attacks on all images that an evaluation of these models is made of."""
        model = next(model for model in self.models if model.name == evaluation.name)
        return [
            FinishedAttack(model, self._run(model, attack), evaluation.records[attack.text])
            for attack in evaluation.suite.attacks
        ]

    def _task(
        self,
        model: ModelDescription,
        attack: Attack,
        predicted: Ints,
        label: str = "",
        **changes: Any,
    ) -> AttackTask:
        """Return the task of an attack on a model; changes: of its run."""
        run = self._run(model, attack, **changes)
        return AttackTask(model, self.resources, self.images.opener, run, predicted, label)

    def _run(self, model: ModelDescription, attack: Attack, **changes: Any) -> AttackRun:
        """Return the run of an attack on a model."""
        settings = {
            "folder": self._folder(model),
            "limit": self.settings.limit,
            "again": self.settings.again,
        }
        return AttackRun(attack, self._identity(model), **(settings | changes))

    def _finished(self, suites: Mapping[str, Suite]) -> dict[str, dict[str, AttackRecords]]:
        """Return the records, by model and text, of attacks that an earlier run has finished."""
        count = self._count(self.images.opener())
        finished: dict[str, dict[str, AttackRecords]] = {model.name: {} for model in self.models}
        for model in self.models:
            for attack in suites[model.name].attacks:
                records = load_finished(self._run(model, attack), count)
                if records is not None:
                    finished[model.name][attack.text] = records
        return finished

    def _count(self, source: Source) -> int:
        """Return how many images are evaluated."""
        limit = self.settings.limit
        return len(source) if limit is None else min(limit, len(source))

    def _plan(
        self, suites: Mapping[str, Suite], finished: Mapping[str, Records]
    ) -> list[PlannedWork]:
        """Return what is left to do, with the time that it will take, for the one progress bar."""
        source, settings = self.images.opener(), self.settings
        count = self._count(source)
        planned: list[PlannedWork] = []
        for model in self.models:
            suite, mine = suites[model.name], finished[model.name]
            cascades = [
                attack
                for budget in suite.radii
                for attack in suite.cascade_within(budget, settings.seed)
                if settings.again
                or not (self._within(model, budget) / f"{attack.file_name}.h5").exists()
            ]
            probed = min(settings.probe, count) if suite.loss and suite.margin else 0
            if not settings.again and any(self._probe(model, probed).glob("*.h5")):
                probed = 0
            plan = ModelPlan(
                model.name,
                count,
                tuple(one for one in suite.attacks if one.text not in mine),
                tuple(cascades),
                probed,
                settings.noise,
                classify=not mine,
            )
            if plan.has_attacks:
                planned += plan.measure(load_cached(model, self.resources.batch_size), source)
            elif settings.noise is not None:
                planned.append(PlannedWork(f"{model.name}: {NOISE}", count, None))
        return planned

    def _predictions(self, finished: Mapping[str, Records], workers: Workers) -> dict[str, Ints]:
        """Return what each model classifies the images as; of records that are there, theirs."""
        found = {
            name: next(iter(records.values())).predicted
            for name, records in finished.items()
            if records
        }
        left = [model for model in self.models if model.name not in found]
        tasks = [
            PredictionTask(model, self.resources, self.images.opener, self.settings.limit)
            for model in left
        ]
        results = workers.run(tasks)
        return found | {model.name: one for model, one in zip(left, results, strict=True)}

    def _records(
        self,
        suites: Mapping[str, Suite],
        finished: Mapping[str, Records],
        predicted: Mapping[str, Ints],
        workers: Workers,
    ) -> dict[str, dict[str, AttackRecords]]:
        """Return the records of all attacks by model and text, in the order of the suite."""
        tasks = [
            self._task(model, one, predicted[model.name])
            for model in self.models
            for one in suites[model.name].attacks
            if one.text not in finished[model.name]
        ]
        new = {
            (task.model.name, task.run.attack.text): records
            for task, records in zip(tasks, workers.run(tasks), strict=True)
        }
        return {
            name: {
                one.text: new.get((name, one.text)) or finished[name][one.text]
                for one in suite.attacks
            }
            for name, suite in suites.items()
        }

    def _robust(
        self,
        suites: Mapping[str, Suite],
        predicted: Mapping[str, Ints],
        records: Mapping[str, Records],
        workers: Workers,
    ) -> dict[str, tuple[RobustAccuracy, ...]]:
        """Return the robust accuracy of each model within each budget, after the cascade."""
        found: dict[tuple[str, PerturbationBudget], RobustAccuracy] = {}
        for model in self.models:
            suite, mine = suites[model.name], records[model.name]
            for budget in suite.radii:
                correct = correctly_classified(next(iter(mine.values())))
                found[model.name, budget] = robust_within(budget, correct, suite.attacks, mine)
        cascades = {
            place: suites[place[0]].cascade_within(place[1], self.settings.seed) for place in found
        }
        for stage in range(max(map(len, cascades.values()), default=0)):
            tasks, places = [], []
            for model in self.models:
                suite = suites[model.name]
                for budget in suite.radii:
                    attacks = cascades[model.name, budget]
                    before = found[model.name, budget]
                    if stage < len(attacks) and before.robust.any():
                        places.append((model.name, budget))
                        tasks.append(
                            self._task(
                                model,
                                attacks[stage],
                                predicted[model.name],
                                CASCADE,
                                folder=self._within(model, budget),
                                only=before.robust,
                            )
                        )
            for place, task, after in zip(places, tasks, workers.run(tasks), strict=True):
                found[place] = after_stage(found[place], task.run.attack, after)
        return {
            model.name: tuple(found[model.name, one] for one in suites[model.name].radii)
            for model in self.models
        }

    def _probes(
        self,
        suites: Mapping[str, Suite],
        predicted: Mapping[str, Ints],
        records: Mapping[str, Records],
        workers: Workers,
    ) -> dict[str, Probe]:
        """Hold iterated attacks against single steps, for each model that has a radius for it."""
        settings, tasks, radii = self.settings, [], {}
        for model in self.models:
            suite, mine = suites[model.name], records[model.name]
            if suite.loss is None or suite.margin is None:
                continue
            margin = mine[suite.margin]
            radius = probe_radius(margin, settings.probe, settings.probe_epsilon)
            if not radius:
                continue
            radii[model.name] = radius
            count = min(settings.probe, len(margin))
            settings_of_probe = {"folder": self._probe(model, count), "limit": count}
            tasks += [
                self._task(model, one, predicted[model.name][:count], PROBE, **settings_of_probe)
                for one in iterated_attacks(radius)
            ]
        results = workers.run(tasks)
        found = {}
        for task, loss, margin in zip(tasks[::2], results[::2], results[1::2], strict=True):
            name = task.model.name
            found[name] = compare_with_single_steps(
                radii[name], suites[name], records[name], loss, margin
            )
        return found

    def _noise(
        self, records: Mapping[str, Records], workers: Workers, reporter: Reporter
    ) -> tuple[Any, dict[str, NoiseStability]]:
        """Return stability to noise, on images that all models get right; and which they are."""
        settings = self.settings
        if settings.noise is None:
            return np.empty(0, np.int64), {}
        first = [next(iter(one.values())) for one in records.values()]
        eligible = np.flatnonzero(np.all([correctly_classified(one) for one in first], axis=0))
        rows = pick_images(first[0].labels, eligible, settings.noise.per_class, settings.seed)
        if not len(rows):
            reporter.warn("noise was not measured: no image is classified correctly by all models")
            return rows, {}
        tasks = [
            NoiseTask(
                model,
                self.resources.batch_size,
                self.images.opener,
                self._identity(model),
                rows,
                one.labels[rows],
                settings.noise,
                settings.seed,
                self._folder(model),
                settings.again,
            )
            for model, one in zip(self.models, first, strict=True)
        ]
        results = workers.run(tasks)
        return rows, {model.name: one for model, one in zip(self.models, results, strict=True)}
