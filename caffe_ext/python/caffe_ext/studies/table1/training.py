"""The eight LeNets of Table 1 of the BANG paper (Rozsa, Günther and Boult, 2018), trained here.

    study = Table1Training(LeNetTraining(Path("build/mine")))
    data = study.prepare_data()
    trained = [study.train(data, MODELS[name]) for name in ("R0", "B1")]

<output>/R0/R0_iter_500.caffemodel, ...   the weights, throughout each training run
<output>/data                             the databases
<output>/R0.yaml, models.json             after each model: its description, and the list of all
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from caffe_ext.data import PreparedFolder
from caffe_ext.errors import DataError
from caffe_ext.reporting import Reporter, SilentReporter
from caffe_ext.runtime.checkout import ROOT, shorten_path
from caffe_ext.storage.atomic import write_json
from caffe_ext.storage.json_file import Object, read_json, validate
from caffe_ext.storage.lock import lock_folder
from caffe_ext.storage.provenance import collect_provenance, hash_file
from caffe_ext.training import TrainingResult, train
from caffe_ext.training.lenet import LeNetTraining, write_lenet_file
from caffe_ext.training.settings import SEEDS

LIST = "models.json"
# Of both data sets about a sixth of the training images.
PAPER_VALIDATION, DIGITS_VALIDATION = 10_000, 250


@dataclass(frozen=True)
class Table1Model:
    """A row of the paper's table; beta and epsilon are BANG's, None without BANG."""

    id: str
    beta: float | None = None
    epsilon: float | None = None

    @property
    def solver(self) -> str:
        """Return the name of the solver file."""
        return "lenet_sgd" if self.beta is None else "lenet_bang"

    @property
    def bang(self) -> str:
        """Return the settings of BANG, as protobuf text."""
        if self.beta is None:
            return ""
        return f"bang_param {{ beta: {self.beta} epsilon: {self.epsilon} }}"

    def choose_seed(self, first: int) -> int:
        """Return the seed: a different one for each model, the `first` for the first of them."""
        return (first + list(MODELS).index(self.id)) % SEEDS


TABLE_1 = (
    Table1Model("R0"),
    Table1Model("R1"),
    Table1Model("B0", 1.00, 0.785),
    Table1Model("B1", 1.00, 0.815),
    Table1Model("B2", 1.20, 0.810),
    Table1Model("B3", 1.35, 0.780),
    Table1Model("B4", 1.50, 0.840),
    Table1Model("B5", 1.60, 0.780),
)
MODELS = {model.id: model for model in TABLE_1}


@dataclass(frozen=True)
class TrainedModel:
    """A model of the table, its seed, and its training result."""

    model: Table1Model
    seed: int
    result: TrainingResult

    def as_entry(self) -> dict[str, Any]:
        """Return its entry for models.json, without what all models of a run share."""
        result = self.result
        return asdict(self.model) | {
            "seed": self.seed,
            "weights": shorten_path(result.weights),
            "sha256": hash_file(result.weights),
            "accuracy": result.accuracy,
            "loss": result.loss,
            "seconds": result.seconds,
            "iterations": result.iterations,
            "solver": shorten_path(result.solver),
            "settings": result.settings,
            "devices": list(result.devices),
        }


@dataclass(frozen=True)
class Table1Training:
    """How the models are trained.

    lenet       the common settings; its seed is that of the table's first model
    validation  how many training images are held out; None: a sixth, as in the paper
    snapshots   save the weights every this many iterations; 0: only the last
    """

    lenet: LeNetTraining
    validation: int | None = None
    snapshots: int = 500

    @property
    def validation_images(self) -> int:
        """Return how many training images are held out."""
        if self.validation is not None:
            return self.validation
        return DIGITS_VALIDATION if self.lenet.digits else PAPER_VALIDATION

    def prepare_data(self, reporter: Reporter | None = None) -> PreparedFolder:
        """Write or find the databases; DataError if that is impossible."""
        folder = self.lenet.output / "data"
        return self.lenet.prepare_data(folder, reporter, validation=self.validation_images)

    def train(
        self, data: PreparedFolder, model: Table1Model, reporter: Reporter | None = None
    ) -> TrainedModel:
        """Train a model, or reuse a finished run; list and describe it in the folder.

        Raises DataError and TrainingError.
        """
        seed, output = model.choose_seed(self.lenet.seed), self.lenet.output
        request = replace(self.lenet, seed=seed).make_request(
            data, model.solver, name=model.id, overrides=f"snapshot: {self.snapshots} {model.bang}"
        )
        trained = TrainedModel(model, seed, train(request, reporter or SilentReporter()))
        about = {
            "data": asdict(data.record) | {"content": data.record.content},
            "provenance": asdict(collect_provenance()),
        }
        list_model(output, trained.as_entry() | about, reused=trained.result.reused)
        write_lenet_file(output, model.id, trained.result.weights, model.id)
        return trained


@dataclass(frozen=True)
class _Entry:
    """The part of an entry of models.json that is read back."""

    id: str
    weights: str


@dataclass(frozen=True)
class _List:
    """Content of models.json, with complete entries."""

    models: tuple[Object, ...]

    def __post_init__(self) -> None:
        """Raise ValueError for incomplete entries."""
        for one in self.models:
            validate(one, _Entry)


def read_models(path: Path) -> dict[str, dict[str, Any]]:
    """Return the entries of models.json whose weights are still there, by id.

    Raises DataError if it is damaged.
    """
    if not path.exists():
        return {}
    advice = "move it away, and name all its models again"
    entries = read_json(path, _List, advice, DataError).models
    return {one["id"]: one for one in entries if (ROOT / one["weights"]).is_file()}


def list_model(output: Path, new: Mapping[str, Any], *, reused: bool) -> None:
    """Add an entry to models.json, in the order of the table.

    A reused model keeps its entry, which records how it was trained.
    """
    path = output / LIST
    with lock_folder(output, None):  # another of these programs may be at work on other models
        entries = read_models(path)
        present = entries.get(new["id"], {})
        same = all(present.get(key) == new[key] for key in ("settings", "weights", "sha256"))
        if not (reused and same):
            entries[new["id"]] = dict(new)
        ids = [name for name in MODELS if name in entries]
        write_json(path, {"models": [entries[name] for name in ids]})


def locate_attacks(output: Path, trained: Sequence[TrainedModel]) -> Path:
    """Return the folder for the attacks on trained models: no other weights share it."""
    entries = sorted(
        (one.as_entry() for one in trained), key=lambda one: list(MODELS).index(one["id"])
    )
    digest = hashlib.sha256("".join(one["sha256"] for one in entries).encode()).hexdigest()
    return output / "attacks" / "-".join([*(one["id"] for one in entries), digest[:8]])
