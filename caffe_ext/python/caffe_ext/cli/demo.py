"""Train the plain LeNet and the BANG LeNet on MNIST, attack both, and compare them.

Everything goes to build/demo: the trained weights, the logs, result.json, which holds the figures
with all that they depend on, adversarials, and a first report on robustness. What was trained
before is not trained again.
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caffe_ext.cli import evaluate, hotcold
from caffe_ext.cli.checkout import DATA, ROOT, shown
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
from caffe_ext.storage.atomic import write_json

if TYPE_CHECKING:
    from caffe_ext.data import Prepared
    from caffe_ext.training import TrainingResult

SOLVERS = (("LeNet", "lenet_sgd"), ("LeNet with BANG", "lenet_bang"))
HOT_COLD_IMAGES = 100

EPILOG = f"""\
data
  MNIST, as `caffe-ext get-data mnist` finds or downloads it. Without it, and with --digits,
  scikit-learn's 1,797 handwritten digits, and {DIGITS_ITERATIONS:,} iterations in place of 10,000.

examples
  caffe-ext demo
  caffe-ext demo --digits --output build/demo-digits
  caffe-ext demo --iterations 1000 --output build/demo-short
"""


@dataclass(frozen=True)
class Model:
    """One row of the table: a training and its settings; beta and epsilon are BANG's, else None."""

    name: str
    solver: str
    beta: float | None
    epsilon: float | None
    result: "TrainingResult"


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of this program."""
    return training_parser("demo", __doc__, EPILOG, "build/demo", "of both trainings")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; end the program with a sentence if they are wrong."""
    return parse_training(make_parser(), argv)


def train_models(arguments: argparse.Namespace, data: "Prepared") -> list[Model]:
    """Train every model, or take it over where it is there."""
    from caffe_ext.training import train
    from caffe_ext.training.settings import read_settings

    models = []
    for name, solver in SOLVERS:
        changes = f"random_seed: {arguments.seed}"
        request = training_request(arguments, data, solver, solver, changes)
        settings = read_settings(request.solver, request.overrides, root=ROOT).solver
        bang = settings.bang_param if settings.type == "BANG" else None
        models.append(
            Model(
                name,
                str(request.solver.relative_to(ROOT)),
                bang.beta if bang else None,
                bang.epsilon if bang else None,
                train(request, Console()),
            )
        )
    return models


def table(models: Sequence[Model]) -> str:
    """Return the table of results."""
    heads = ("model", "beta", "epsilon", "test accuracy", "training time")
    rows = [
        (model.name, setting(model.beta), setting(model.epsilon), *outcome(model.result))
        for model in models
    ]
    return aligned([heads, *rows])


def save(arguments: argparse.Namespace, data: "Prepared", models: Sequence[Model]) -> Path:
    """Write result.json; return its path."""
    from caffe_ext.storage.provenance import provenance, sha256

    record: dict[str, Any] = asdict(provenance(ROOT)) | {
        "seed": arguments.seed,
        "data": asdict(data.record) | {"content": data.record.content},
        "models": [
            asdict(model)
            | {
                "result": {
                    name: shown(value) if isinstance(value, Path) else value
                    for name, value in asdict(model.result).items()
                }
                | {"weights_sha256": sha256(model.result.weights)}
            }
            for model in models
        ],
    }
    path: Path = arguments.output / "result.json"
    write_json(path, record)
    return path


def measure(arguments: argparse.Namespace, data: "Prepared", models: Sequence[Model]) -> None:
    """Show the smallest adversarials of both models, and how robust they are; briefly."""
    output: Path = arguments.output
    files = [
        f"{describe_model(output, solver, model.result.weights, model.name)}"
        for (_, solver), model in zip(SOLVERS, models, strict=True)
    ]
    images = (data.folder / "test_lmdb").absolute()
    common = ["--again", "--model", *files, "--images", f"{images}", *passed_on(arguments)]
    print(f"\nHot/cold adversarials of the first {HOT_COLD_IMAGES} test images")
    hotcold_output = f"{output / 'hotcold'}"
    _step(hotcold.main, [*common, "--limit", f"{HOT_COLD_IMAGES}", "--output", hotcold_output])
    print("\nA first report on robustness (caffe-ext evaluate makes the whole one)")
    _step(evaluate.main, [*common, "--quick", "--output", f"{output / 'evaluate'}"])


def _step(program: Callable[[Sequence[str]], int], argv: Sequence[str]) -> None:
    """Run another program; end this one if that one has not done all."""
    sys.stdout.flush()
    status = program(argv)
    if status:
        sys.exit(status)


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    from caffe_ext.data import DataError
    from caffe_ext.training import TrainingError

    # MNIST's data bases lie where the solver files look for them.
    output = arguments.output / "data" if arguments.digits else DATA
    try:
        data = prepare_data(arguments, output)
        models = train_models(arguments, data)
        path = save(arguments, data, models)
    except (DataError, TrainingError) as error:
        sys.exit(f"{error}")
    print(f"\n{table(models)}\n\nThe weights, the logs and all settings: {shown(path)}")
    print("One run's times tell little about the cost of BANG; `make bench` measures it.")
    measure(arguments, data, models)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    return run_training(run, parse(argv))
