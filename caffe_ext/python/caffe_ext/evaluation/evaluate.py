"""Evaluate how robust models are: attacks, random noise, and signs of masked gradients.

All models are evaluated on the same images. The files in the folder at the end:

<model>/<attack>.h5       the records of each image and the adversarials (records.py)
<model>/within-<norm>-<radius>/
                          the attacks of the cascade, each on what the previous ones left
<model>/probe-<n>/        the iterated attacks that single steps are compared with, on n images
<model>/noise-<x>.json    how often noise changes the class; x: the digest of what it depends on

An interrupted evaluation resumes, and finished results are read. Each process loads a model once,
and images are classified once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from math import prod, sqrt

from caffe_ext.attacks.base import Attack, check_attack
from caffe_ext.attacks.budget import PerturbationBudget, explain_fractional_radius
from caffe_ext.attacks.own import check_picklable
from caffe_ext.evaluation.attackability import AttackabilityTask
from caffe_ext.evaluation.plan import CASCADE, NOISE, PROBE, ModelPlan, PlannedCascade
from caffe_ext.evaluation.result import ModelEvaluation, put_together
from caffe_ext.evaluation.robustness import add_findings
from caffe_ext.evaluation.stages import Records, measure_noise, probe_models, run_cascades
from caffe_ext.evaluation.suite import Suite
from caffe_ext.evaluation.tasks import PredictionTask
from caffe_ext.evaluation.work import EvaluationWork
from caffe_ext.metrics.distances import FULL_SCALE
from caffe_ext.models.base import Ints
from caffe_ext.models.cache import clear_cache, load_cached
from caffe_ext.reporting import Reporter
from caffe_ext.runs.overall_progress import OverallProgress, PlannedWork, report_estimate
from caffe_ext.runs.pictures.images import FinishedAttack
from caffe_ext.runs.records import AttackRecords
from caffe_ext.runs.runner import load_finished
from caffe_ext.runtime.engine import limit_threads
from caffe_ext.runtime.workers import Workers


class Evaluator(EvaluationWork):
    """Evaluates the models, in stages; see above."""

    def evaluate(self, reporter: Reporter) -> tuple[ModelEvaluation, ...]:
        """Do everything that is not done yet; return the results for each model.

        There is one progress bar for everything, and a time estimate before a long run.

        Raises RecordError if the folder holds the results of something else, ValueError for
        attacks that a model does not have, WorkerError if a worker process dies.
        """
        suites = self.suites
        finished = self._load_finished(suites)
        planned = self._plan(suites, finished)
        report_estimate(planned, self.resources.processes, reporter)
        if self.resources.processes > 1:
            clear_cache()  # the workers load their own
        with (
            OverallProgress(reporter, "evaluation", planned) as progress,
            Workers(self.resources.processes, progress) as workers,
        ):
            predicted = self._predict(finished, workers)
            records = self._collect_records(suites, finished, predicted, workers)
            robust, within = run_cascades(self, suites, predicted, records, workers)
            checks = workers.run(
                [
                    AttackabilityTask(model, self.resources.batch_size, self.images.opener)
                    for model in self.models
                ]
            )
            progress.complete(f"{model.name}: {CASCADE}" for model in self.models)
            probes, iterated = probe_models(self, suites, predicted, records, workers)
            progress.complete(f"{model.name}: {PROBE}" for model in self.models)
            rows, noise = measure_noise(self, records, workers, reporter)
        clear_cache()
        return tuple(
            put_together(
                model,
                suites[model.name],
                records[model.name],
                robust=tuple(
                    add_findings(one, [*within[model.name], *iterated[model.name]])
                    for one in robust[model.name]
                ),
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
        """Return the remarks on the attacks and the budgets of all models, each once.

        Those on the default radii, which no user chose, are left out; see default_note.
        """
        defaults = {
            remark for one in self._default_radii for remark in explain_fractional_radius(one)
        }
        found: dict[str, None] = {}
        for suite in self.suites.values():
            for attack in suite.attacks:
                found |= dict.fromkeys(attack.remarks)
            for budget in suite.radii:
                remarks = list(explain_fractional_radius(budget))
                for attack in suite.make_cascade(budget):
                    remarks += [*attack.remarks, *_explain_other_budget(attack, budget)]
                found |= dict.fromkeys(one for one in remarks if one not in defaults)
        return tuple(found)

    @property
    def default_note(self) -> str:
        """Return a sentence about default Linf radii that are not whole numbers; "" without any."""
        radii = [one.epsilon for one in self._default_radii if explain_fractional_radius(one)]
        if not radii:
            return ""
        texts = " and ".join(f"{radius:g} ({radius / 255:g} of 1)" for radius in radii)
        whole = " and ".join(f"{int(radius)}" for radius in radii)
        return f"default radii {texts}: in whole grey levels, as image files have them, {whole}"

    @property
    def _default_radii(self) -> tuple[PerturbationBudget, ...]:
        if self.settings.radii is not None or self.settings.own_suite is not None:
            return ()
        budgets = (budget for suite in self.suites.values() for budget in suite.radii)
        return tuple(dict.fromkeys(budgets))

    @cached_property
    def suites(self) -> dict[str, Suite]:
        """The suite of each model; the model and each attack are first tried on one image.

        So errors are reported before the work begins. Raises ValueError.
        """
        first = self.images.opener().read(slice(0, 1)).images
        suites = {}
        for description in self.models:
            model = load_cached(description, self.resources.batch_size)
            suite = self.settings.make_suite(model.classes, first.shape[1])
            suite = suites[description.name] = replace(suite, classes=model.classes)
            try:
                model.predict(first)
            except ValueError as error:
                raise ValueError(f"{description.name}: {error}") from error
            _check_radii(suite.radii, first.shape[1:])
            for attack in suite.every_attack:
                try:
                    if self.resources.processes > 1:
                        check_picklable(attack)
                    check_attack(attack, model)
                except ValueError as error:
                    raise ValueError(f"{description.name}, {attack.text}: {error}") from error
        return suites

    def list_finished(self, evaluation: ModelEvaluation) -> list[FinishedAttack]:
        """Return the attacks on all images of an evaluation of these models."""
        model = next(model for model in self.models if model.name == evaluation.name)
        return [
            FinishedAttack(model, self.run(model, attack), evaluation.records[attack.text])
            for attack in evaluation.suite.attacks
        ]

    def _load_finished(self, suites: Mapping[str, Suite]) -> dict[str, dict[str, AttackRecords]]:
        """Return the records, by model and text, of attacks that an earlier run has finished."""
        finished: dict[str, dict[str, AttackRecords]] = {model.name: {} for model in self.models}
        for model in self.models:
            for attack in suites[model.name].attacks:
                records = load_finished(self.run(model, attack), self.count)
                if records is not None:
                    finished[model.name][attack.text] = records
        return finished

    def _plan(
        self, suites: Mapping[str, Suite], finished: Mapping[str, Records]
    ) -> list[PlannedWork]:
        """Return what is left to do, with its expected time, for the progress bar."""
        source, settings = self.images.opener(), self.settings
        count = self.count
        planned: list[PlannedWork] = []
        for model in self.models:
            suite, mine = suites[model.name], finished[model.name]
            cascades = tuple(
                PlannedCascade(
                    budget,
                    tuple(
                        (stage, attack)
                        for stage, attack in enumerate(suite.make_cascade(budget, settings.seed))
                        if settings.again
                        or not (
                            self.locate_cascade(model, budget) / f"{attack.file_name}.h5"
                        ).exists()
                    ),
                )
                for budget in suite.radii
            )
            probed = min(settings.probe, count) if suite.loss and suite.margin else 0
            if not settings.again and any(self.locate_probe(model, probed).glob("*.h5")):
                probed = 0
            plan = ModelPlan(
                model.name,
                count,
                tuple(one for one in suite.attacks if one.text not in mine),
                mine,
                cascades,
                probed,
                settings.noise,
                classify=not mine,
                cores=self.resources.cores_per_process,
            )
            if plan.has_attacks:
                with limit_threads(plan.cores):
                    loaded = load_cached(model, self.resources.batch_size)
                    planned += plan.measure(loaded, source)
            elif settings.noise is not None:
                planned.append(PlannedWork(f"{model.name}: {NOISE}", count, None, NOISE))
        return planned

    def _predict(self, finished: Mapping[str, Records], workers: Workers) -> dict[str, Ints]:
        """Return each model's predictions; from existing records, if there are any."""
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

    def _collect_records(
        self,
        suites: Mapping[str, Suite],
        finished: Mapping[str, Records],
        predicted: Mapping[str, Ints],
        workers: Workers,
    ) -> dict[str, dict[str, AttackRecords]]:
        """Return the records of all attacks by model and text, in the order of the suite."""
        tasks = [
            self.make_task(model, one, predicted[model.name])
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


def _explain_other_budget(attack: Attack, budget: PerturbationBudget) -> tuple[str, ...]:
    """Return a sentence about an attack of a cascade that searches within another budget."""
    own = getattr(attack, "budget", budget)
    if not isinstance(own, PerturbationBudget) or own == budget:
        return ()
    return (
        f"--cascade: {attack.text} searches within {own}, and so may leave images that an attack "
        f"within {budget} breaks: in its text, E stands for the radius",
    )


def _check_radii(radii: Sequence[PerturbationBudget], shape: tuple[int, ...]) -> None:
    """Raise ValueError for an L2 radius that all images (C, H, W) of this shape are within."""
    largest = FULL_SCALE * sqrt(prod(shape))
    for budget in radii:
        if budget.norm == "l2" and budget.epsilon >= largest:
            raise ValueError(
                f"no two images of {' x '.join(map(str, shape))} are further apart than L2 "
                f"{largest:.0f} ({largest / FULL_SCALE:.1f} of 1), and {budget} is asked for"
            )
