"""A point's pure function: from its description to its figures and weights."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from caffe_ext.data import open_images
from caffe_ext.errors import DataError
from caffe_ext.evaluation.evaluate import Evaluator
from caffe_ext.evaluation.result import ModelEvaluation, Settings
from caffe_ext.evaluation.tasks import Resources
from caffe_ext.evaluation.work import ImageSet
from caffe_ext.models.description import ModelDescription, describe_model
from caffe_ext.reporting import SilentReporter
from caffe_ext.runs.summary import MEASURES, AttackSummary
from caffe_ext.runtime.device import Device
from caffe_ext.runtime.engine import limit_threads
from caffe_ext.runtime.quiet import silence_caffe
from caffe_ext.sweeps.choices import DataChoice
from caffe_ext.sweeps.data import SweepData, find_prepared, prepare_data
from caffe_ext.sweeps.description import hash_point_modules
from caffe_ext.sweeps.evaluation_plan import EvaluationPlan, name_radius
from caffe_ext.training import TrainingRequest, TrainingResult, train


class RefusalError(Exception):
    """This machine must not compute the point: its data or modules are others."""


@dataclass(frozen=True)
class ComputedPoint:
    """What a point's function returns.

    figures   accuracy, attacks and robust accuracies: see collect_figures()
    weights   the file with the trained weights
    seconds   of the parts: data, training, evaluation
    """

    figures: dict[str, Any]
    weights: Path
    seconds: dict[str, float]


class _OneCore(Resources):
    """Resources of a process that shares the machine with others like it."""

    @property
    def cores(self) -> int:
        """Count one."""
        return 1


def compute_point(
    description: Mapping[str, Any], folder: Path, data_folder: Path, gpu: int | None = None
) -> ComputedPoint:
    """Train and evaluate a point in an empty folder, on one core, or on a GPU.

    data_folder  holds the databases; created if necessary

    Raises RefusalError if the data set or the module of a Python layer is another one here,
    TrainingError, ValueError and OSError for a point that fails.
    """
    began = perf_counter()
    _check_modules(description)
    data = _find_data(description["data"], data_folder)
    prepared = perf_counter()
    trained = _train(description, folder, data, gpu)
    ready = perf_counter()
    figures = _evaluate(description, folder, data, trained, gpu)
    seconds = {
        "data": prepared - began,
        "training": ready - prepared,
        "evaluation": perf_counter() - ready,
    }
    return ComputedPoint(figures, trained.weights, seconds)


def _check_modules(description: Mapping[str, Any]) -> None:
    """Raise RefusalError if a Python layer's module is missing here, or another one."""
    found = hash_point_modules(description)
    for name, digest in description.get("modules", {}).items():
        if name not in found:
            raise RefusalError(
                f"it has no module '{name}', which Python layers are in; add its folder to "
                "PYTHONPATH there"
            )
        if found[name] != digest:
            raise RefusalError(
                f"its module '{name}', which Python layers are in, is not the one of the sweep: "
                f"its digest is {found[name][:12]}, not {digest[:12]}"
            )


def _find_data(wanted: Mapping[str, Any], home: Path) -> SweepData:
    choice = DataChoice(wanted["name"], wanted["validation"])
    found = find_prepared(choice, home, wanted["sha256"])
    if found is not None:
        return found
    try:
        data = prepare_data(choice, home)
    except DataError as error:
        raise RefusalError(f"the data set {choice} cannot be prepared: {error}") from error
    if data.digest != wanted["sha256"]:
        raise RefusalError(
            f"the data set {choice} ({data.origin}) is not the one of the sweep: its digest is "
            f"{data.digest[:12]}, not {wanted['sha256'][:12]}"
        )
    return data


def _train(
    description: Mapping[str, Any], folder: Path, data: SweepData, gpu: int | None
) -> TrainingResult:
    solver = folder / "solver.prototxt"
    solver.write_text(description["solver"], encoding="utf-8")
    for name, text in description["networks"].items():
        (folder / name).write_text(text, encoding="utf-8")
    # The names are those in the description, so that the weights' file has no paths in it.
    for name, path in data.files.items():
        (folder / name).symlink_to(path)
    return train(TrainingRequest(solver, folder / "training", root=folder, gpu=gpu))


def _evaluate(
    description: Mapping[str, Any],
    folder: Path,
    data: SweepData,
    trained: TrainingResult,
    gpu: int | None,
) -> dict[str, Any]:
    plan = EvaluationPlan.from_dict(description["evaluation"])
    model = describe_trained(description["model"], folder, data, trained.weights)
    settings = Settings(own_suite=plan.make_suite(), limit=plan.limit, seed=plan.seed, probe=0)
    opener = partial(open_images, str(data.files["test_lmdb"]))
    with ExitStack() as stack:
        stack.enter_context(silence_caffe())
        stack.enter_context(Device(gpu).activate())
        if gpu is None:
            stack.enter_context(limit_threads(1))
        evaluator = Evaluator(
            [model],
            ImageSet(opener, data.digest, labelled=True),
            settings,
            folder / "evaluation",
            _OneCore(jobs=1),
        )
        (evaluation,) = evaluator.evaluate(SilentReporter())
    return collect_figures(evaluation, trained)


def describe_trained(
    given: Mapping[str, Any], folder: Path, data: SweepData, weights: Path
) -> ModelDescription:
    """Return a point's model; given: `model` of its description."""
    deploy = folder / "deploy.prototxt"
    deploy.write_text(given["deploy"], encoding="utf-8")
    settings = {**given, "deploy": str(deploy), "name": "point"}
    if isinstance(given.get("mean"), str):
        settings["mean"] = str(data.files[given["mean"]])
    return describe_model(settings, weights=weights)


def collect_figures(evaluation: ModelEvaluation, trained: TrainingResult) -> dict[str, Any]:
    """Return the figures of a point, for JSON.

    accuracy  of the images, 0..1
    attacks   by text and variant: rate, 0..1, and means and deviations of what was found
    within    by radius: the robust accuracy for whole grey levels and for real-valued pixels
    """
    attacks: dict[str, dict[str, Any]] = {}
    for summary in evaluation.summaries:
        attacks.setdefault(summary.attack, {})[summary.variant] = _collect_summary(summary)
    within = {
        name_radius(one.budget): {
            "accuracy": one.accuracy,
            "accuracy_real": one.accuracy_real,
        }
        for one in evaluation.robust
    }
    return {
        "images": evaluation.images,
        "accuracy": evaluation.accuracy,
        "iterations": trained.iterations,
        "attacks": attacks,
        "within": within,
    }


def _collect_summary(summary: AttackSummary) -> dict[str, Any]:
    spreads = {name: getattr(summary, name) for name in MEASURES}
    return {
        "attempted": summary.attempted,
        "found": summary.found,
        "rate": summary.rate,
        "saturated": summary.saturated,
        "zero_gradient": summary.zero_gradient,
        **{name: None if one is None else asdict(one) for name, one in spreads.items()},
    }
