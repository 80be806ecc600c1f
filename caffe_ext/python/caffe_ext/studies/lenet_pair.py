"""A plain LeNet and one with BANG, trained alike: what `caffe-ext demo` compares.

training = LeNetTraining(Path("build/mine"), digits=True)
data = training.prepare_data(Path("build/mine/data"))
models = train_pair(training, data)
write_pair_record(training, data, models)
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from caffe_ext.data import PreparedFolder
from caffe_ext.reporting import Reporter, SilentReporter
from caffe_ext.runtime.checkout import ROOT, shorten_path
from caffe_ext.storage.atomic import write_json
from caffe_ext.storage.provenance import collect_provenance, hash_file
from caffe_ext.training import TrainingResult, train
from caffe_ext.training.lenet import LeNetTraining
from caffe_ext.training.settings import read_settings

SOLVERS = {"LeNet": "lenet_sgd", "LeNet with BANG": "lenet_bang"}
"""The name of each model, and that of its solver file and of its training's folder."""
RECORD = "result.json"


@dataclass(frozen=True)
class TrainedLeNet:
    """A training run and its settings; beta and epsilon are BANG's, None without BANG."""

    name: str
    solver: str
    beta: float | None
    epsilon: float | None
    result: TrainingResult


def train_pair(
    training: LeNetTraining, data: PreparedFolder, reporter: Reporter | None = None
) -> list[TrainedLeNet]:
    """Train both models, or reuse finished runs; raises as train() does."""
    models = []
    for name, solver in SOLVERS.items():
        request = training.make_request(data, solver)
        settings = read_settings(request.solver, request.overrides, root=ROOT).solver
        bang = settings.bang_param if settings.type == "BANG" else None
        models.append(
            TrainedLeNet(
                name,
                str(request.solver.relative_to(ROOT)),
                bang.beta if bang else None,
                bang.epsilon if bang else None,
                train(request, reporter or SilentReporter()),
            )
        )
    return models


def write_pair_record(
    training: LeNetTraining, data: PreparedFolder, models: list[TrainedLeNet]
) -> Path:
    """Write result.json, which records what was trained, on what, and where; return its path."""
    record: dict[str, Any] = asdict(collect_provenance()) | {
        "seed": training.seed,
        "data": asdict(data.record) | {"content": data.record.content},
        "models": [asdict(model) | {"result": _describe_result(model.result)} for model in models],
    }
    path = training.output / RECORD
    write_json(path, record)
    return path


def _describe_result(result: TrainingResult) -> dict[str, Any]:
    """Return the description of a training run for the record, with shortened paths."""
    values = {
        name: shorten_path(value) if isinstance(value, Path) else value
        for name, value in asdict(result).items()
    }
    return values | {"weights_sha256": hash_file(result.weights)}
