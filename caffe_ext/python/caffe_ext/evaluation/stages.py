"""The stages of an evaluation after the attacks, for all models: cascades, probes, noise."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from caffe_ext.attacks.budget import PerturbationBudget
from caffe_ext.evaluation.masking import Probe
from caffe_ext.evaluation.noise import NoiseTask, pick_images
from caffe_ext.evaluation.plan import CASCADE, PROBE
from caffe_ext.evaluation.probe import (
    choose_probe_radius,
    compare_with_single_steps,
    make_iterated_attacks,
)
from caffe_ext.evaluation.result import find_correctly_classified
from caffe_ext.evaluation.robustness import (
    Finding,
    RobustAccuracy,
    add_stage,
    compute_robust_accuracy,
)
from caffe_ext.evaluation.stability import NoiseStability
from caffe_ext.evaluation.suite import Suite
from caffe_ext.evaluation.work import EvaluationWork
from caffe_ext.models.base import Ints
from caffe_ext.reporting import Reporter
from caffe_ext.runs.records import AttackRecords
from caffe_ext.runtime.workers import Workers

Records = Mapping[str, AttackRecords]
"""The records of each attack, by its text."""
_COMPARISON = "the comparison with single steps"


def run_cascades(
    work: EvaluationWork,
    suites: Mapping[str, Suite],
    predicted: Mapping[str, Ints],
    records: Mapping[str, Records],
    workers: Workers,
) -> tuple[dict[str, tuple[RobustAccuracy, ...]], dict[str, list[Finding]]]:
    """Return the robust accuracy of each model within each budget, after its cascade, and what all
    cascades have found.
    """
    findings: dict[str, list[Finding]] = {model.name: [] for model in work.models}
    found: dict[tuple[str, PerturbationBudget], RobustAccuracy] = {}
    for model in work.models:
        suite, mine = suites[model.name], records[model.name]
        for budget in suite.radii:
            correct = find_correctly_classified(next(iter(mine.values())))
            found[model.name, budget] = compute_robust_accuracy(
                budget, correct, suite.attacks, mine
            )
    cascades = {
        place: suites[place[0]].make_cascade(place[1], work.settings.seed) for place in found
    }
    for stage in range(max(map(len, cascades.values()), default=0)):
        tasks, places = [], []
        for model in work.models:
            suite = suites[model.name]
            for budget in suite.radii:
                attacks = cascades[model.name, budget]
                before = found[model.name, budget]
                if stage < len(attacks) and before.robust.any():
                    places.append((model.name, budget))
                    tasks.append(
                        work.make_task(
                            model,
                            attacks[stage],
                            predicted[model.name],
                            CASCADE,
                            folder=work.locate_cascade(model, budget),
                            only=before.robust,
                        )
                    )
        for place, task, after in zip(places, tasks, workers.run(tasks), strict=True):
            found[place] = add_stage(found[place], task.run.attack, after)
            name, budget = place
            findings[name].append(Finding(f"{budget}", task.run.attack, after))
    robust = {
        model.name: tuple(found[model.name, one] for one in suites[model.name].radii)
        for model in work.models
    }
    return robust, findings


def probe_models(
    work: EvaluationWork,
    suites: Mapping[str, Suite],
    predicted: Mapping[str, Ints],
    records: Mapping[str, Records],
    workers: Workers,
) -> tuple[dict[str, Probe], dict[str, list[Finding]]]:
    """Compare iterated attacks with single steps, for each model with a radius for that; return
    the comparisons, and what the iterated attacks have found.
    """
    settings, tasks, radii = work.settings, [], {}
    for model in work.models:
        suite, mine = suites[model.name], records[model.name]
        if suite.loss is None or suite.margin is None:
            continue
        margin = mine[suite.margin]
        radius = choose_probe_radius(margin, settings.probe, settings.probe_epsilon)
        if not radius:
            continue
        radii[model.name] = radius
        count = min(settings.probe, len(margin))
        settings_of_probe = {"folder": work.locate_probe(model, count), "limit": count}
        tasks += [
            work.make_task(model, one, predicted[model.name][:count], PROBE, **settings_of_probe)
            for one in make_iterated_attacks(radius)
        ]
    results = workers.run(tasks)
    found = {}
    findings: dict[str, list[Finding]] = {model.name: [] for model in work.models}
    for task, iterated in zip(tasks, results, strict=True):
        findings[task.model.name].append(Finding(_COMPARISON, task.run.attack, iterated))
    for task, loss, margin in zip(tasks[::2], results[::2], results[1::2], strict=True):
        name = task.model.name
        found[name] = compare_with_single_steps(
            radii[name], suites[name], records[name], loss, margin
        )
    return found, findings


def measure_noise(
    work: EvaluationWork, records: Mapping[str, Records], workers: Workers, reporter: Reporter
) -> tuple[Any, dict[str, NoiseStability]]:
    """Return the stability to noise on images that all models classify correctly, and which these
    are.
    """
    settings = work.settings
    if settings.noise is None:
        return np.empty(0, np.int64), {}
    first = [next(iter(one.values())) for one in records.values()]
    eligible = np.flatnonzero(np.all([find_correctly_classified(one) for one in first], axis=0))
    rows = pick_images(first[0].labels, eligible, settings.noise.per_class, settings.seed)
    if not len(rows):
        reporter.warn("noise was not measured: no image is classified correctly by all models")
        return rows, {}
    tasks = [
        NoiseTask(
            model,
            work.resources.batch_size,
            work.images.opener,
            work.identify_model(model),
            rows,
            one.labels[rows],
            settings.noise,
            settings.seed,
            work.locate_model_results(model),
            settings.again,
        )
        for model, one in zip(work.models, first, strict=True)
    ]
    results = workers.run(tasks)
    return rows, {model.name: one for model, one in zip(work.models, results, strict=True)}
