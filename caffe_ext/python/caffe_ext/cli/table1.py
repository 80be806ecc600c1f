"""Train the eight LeNets of Table 1 of the BANG paper (Rozsa, Günther and Boult, 2018) on MNIST.

Everything goes to build/table1: a folder for each model, with snapshots from all along its
training, the data, and models.json, which lists the models with all that they depend on. What was
trained before is not trained again. With --evaluate the models are attacked, too, and their table
is written beside the paper's.
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caffe_ext.cli.attack_program import check_output
from caffe_ext.cli.checkout import ROOT, shown
from caffe_ext.cli.console import Console
from caffe_ext.cli.device_argument import passed_on
from caffe_ext.cli.lenet_training import (
    DIGITS_ITERATIONS,
    aligned,
    describe_model,
    outcome,
    parse_training,
    prepare_data,
    run_training,
    setting,
    training_parser,
    training_request,
)
from caffe_ext.cli.table1_report import PAPER_VALIDATION, compare, departure
from caffe_ext.errors import DataError
from caffe_ext.storage.atomic import write_json
from caffe_ext.storage.lock import locked

if TYPE_CHECKING:
    from caffe_ext.data import Prepared
    from caffe_ext.training import TrainingResult

# Of both data sets about a sixth of the training images.
VALIDATION, DIGITS_VALIDATION = PAPER_VALIDATION, 250


@dataclass(frozen=True)
class Model:
    """A row of the paper's table; beta and epsilon are BANG's, None in a plain training."""

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

    def seed(self, first: int) -> int:
        """Return the seed: a different one for each model, the `first` for the first of them."""
        return first + list(MODELS).index(self.id)


TABLE_1 = (
    Model("R0"),
    Model("R1"),
    Model("B0", 1.00, 0.785),
    Model("B1", 1.00, 0.815),
    Model("B2", 1.20, 0.810),
    Model("B3", 1.35, 0.780),
    Model("B4", 1.50, 0.840),
    Model("B5", 1.60, 0.780),
)
MODELS = {model.id: model for model in TABLE_1}

EPILOG = f"""\
models
  R0 and R1 are plain LeNets, B0 to B5 have been trained with BANG. Each starts from a seed of its
  own: --seed is R0's, R1's is one more, and so on to B5's, as in the table.

data
  MNIST's 60,000 training images: the last {VALIDATION:,} are kept apart for validation, as in the
  paper, and the others are trained on. With --digits scikit-learn's 1,797 handwritten digits, of
  which {DIGITS_VALIDATION} are kept apart, and {DIGITS_ITERATIONS:,} iterations in place of 10,000.

what is written
  build/table1/R0/R0_iter_500.caffemodel, ..., R0_iter_10000.caffemodel    the weights
  build/table1/data                                                        the data bases
  build/table1/R0.yaml, models.json                                        after each model
  build/table1/attacks/R0-R1-1a2b3c4d                                      with --evaluate
  A training with other settings, another --snapshots too, is put aside: build/table1/R0/earlier.
  Attacks on other models, or on the same with other weights, go to a folder of their own.
  Two of these programs may run at once if they train different --models on the same data.

examples
  caffe-ext table1
  caffe-ext table1 --evaluate results/table1       # train, attack, compare with the paper
  caffe-ext table1 --models R0 B1
  caffe-ext table1 --digits --output build/table1-digits
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of this program."""
    parser = training_parser("table1", __doc__, EPILOG, "build/table1", "of R0; see below")
    add = parser.add_argument
    add(
        "--models",
        nargs="+",
        choices=MODELS,
        metavar="ID",
        default=list(MODELS),
        help="which to train, in this order (default: all)",
    )
    add(
        "--evaluate",
        type=Path,
        metavar="DIR",
        help="attack the models, with --again anew, and write their table, a report and a picture "
        "to DIR",
    )
    add(
        "--validation",
        type=int,
        metavar="N",
        help="keep the last N training images apart; 0: train on all (default: see below)",
    )
    add(
        "--snapshots",
        type=int,
        metavar="N",
        default=500,
        help="keep the weights every N iterations; 0: only the last (default: %(default)s)",
    )
    return parser


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; end the program with a sentence if they are wrong."""
    parser = make_parser()
    arguments = parse_training(parser, argv)
    for name in ("validation", "snapshots"):
        if (getattr(arguments, name) or 0) < 0:
            parser.error(f"--{name} must not be negative, and is {getattr(arguments, name)}")
    if arguments.validation is None:
        arguments.validation = DIGITS_VALIDATION if arguments.digits else VALIDATION
    return arguments


def train_model(arguments: argparse.Namespace, data: "Prepared", model: Model) -> "TrainingResult":
    """Train a model, or take it over where it is there."""
    from caffe_ext.training import train

    seed = model.seed(arguments.seed)
    changes = f"random_seed: {seed} snapshot: {arguments.snapshots} {model.bang}"
    return train(training_request(arguments, data, model.solver, model.id, changes), Console())


def entry(model: Model, seed: int, result: "TrainingResult") -> dict[str, Any]:
    """Return what models.json says about a model, but for what all models of a run share."""
    from caffe_ext.storage.provenance import sha256

    return asdict(model) | {
        "seed": seed,
        "weights": shown(result.weights),
        "sha256": sha256(result.weights),
        "accuracy": result.accuracy,
        "loss": result.loss,
        "seconds": result.seconds,
        "iterations": result.iterations,
        "solver": shown(result.solver),
        "settings": result.settings,
        "devices": list(result.devices),
    }


def listed(path: Path) -> dict[str, dict[str, Any]]:
    """Return the entries of models.json whose weights are still there, by id.

    Raises DataError if it is damaged.
    """
    from caffe_ext.cli.schemas import TrainedModels
    from caffe_ext.storage.json_file import read_json

    if not path.exists():
        return {}
    advice = "move it away, and name all its models again"
    entries = read_json(path, TrainedModels, advice, DataError).models
    return {one["id"]: one for one in entries if (ROOT / one["weights"]).is_file()}


def save(output: Path, new: Mapping[str, Any], *, reused: bool) -> None:
    """Put an entry into models.json, in the order of the table.

    A model that was reused keeps its entry, which says what trained it.
    """
    path = output / "models.json"
    with locked(output, None):  # another of these programs may be at work on other models
        entries = listed(path)
        present = entries.get(new["id"], {})
        same = all(present.get(key) == new[key] for key in ("settings", "weights", "sha256"))
        if not (reused and same):
            entries[new["id"]] = dict(new)
        ids = [name for name in MODELS if name in entries]
        write_json(path, {"models": [entries[name] for name in ids]})


def attacks_folder(output: Path, entries: Sequence[Mapping[str, Any]]) -> Path:
    """Return the folder for the attacks on models, by their entries: no other weights share it."""
    entries = sorted(entries, key=lambda one: list(MODELS).index(one["id"]))
    digest = hashlib.sha256("".join(one["sha256"] for one in entries).encode()).hexdigest()
    return output / "attacks" / "-".join([*(one["id"] for one in entries), digest[:8]])


def evaluate_options(arguments: argparse.Namespace, data: "Prepared") -> list[str]:
    """Return the arguments with which the programs that attack ask about the test images."""
    options = ["--images", "mnist"]
    if data.record.embedded:
        options = ["--images", f"{(data.folder / 'test_lmdb').absolute()}"]
    elif arguments.data_dir:
        options += ["--data-dir", f"{arguments.data_dir}"]
    return options + ["--again"] * arguments.again + passed_on(arguments)


def table(rows: Sequence[tuple[Model, int, "TrainingResult"]]) -> str:
    """Return the table of models, with their seeds and results."""
    heads = ("model", "beta", "epsilon", "seed", "test accuracy", "training time")
    lines = [
        (model.id, setting(model.beta), setting(model.epsilon), f"{seed}", *outcome(result))
        for model, seed, result in rows
    ]
    return aligned([heads, *lines])


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    from caffe_ext.storage.provenance import provenance
    from caffe_ext.training import TrainingError

    rows, entries = [], []
    if arguments.evaluate is not None:
        check_output(arguments.evaluate)
    try:
        data = prepare_data(arguments, arguments.output / "data", arguments.validation)
        about = {
            "data": asdict(data.record) | {"content": data.record.content},
            "provenance": asdict(provenance(ROOT)),
        }
        for model in (MODELS[name] for name in arguments.models):
            seed = model.seed(arguments.seed)
            result = train_model(arguments, data, model)
            new = entry(model, seed, result)
            save(arguments.output, new | about, reused=result.reused)
            describe_model(arguments.output, model.id, result.weights, model.id)
            rows.append((model, seed, result))
            entries.append(new)
    except (DataError, TrainingError) as error:
        sys.exit(f"{error}")
    path = shown(arguments.output / "models.json")
    print(f"\n{table(rows)}\n\nThe weights, the settings and where they come from: {path}")
    if arguments.evaluate is not None:
        described = [arguments.output / f"{model.id}.yaml" for model, _, _ in rows]
        digits = data.record.embedded
        iterations = arguments.iterations or (DIGITS_ITERATIONS if digits else None)
        otherwise = departure(iterations, arguments.validation, digits=digits)
        work = attacks_folder(arguments.output, entries)
        options = evaluate_options(arguments, data)
        compare(described, work, arguments.evaluate, options, otherwise)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    return run_training(run, parse(argv))
