"""Train the plain LeNet and the BANG LeNet on MNIST, and compare them.

Everything goes to build/demo: the trained weights, the logs, and result.json, which holds the
figures with all that they depend on. What was trained before is not trained again.
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from console import DATA, ROOT, Console, run_program

if TYPE_CHECKING:
    from caffe_ext.data import Prepared
    from caffe_ext.training import TrainingResult

NETWORK = ROOT / "prototxt" / "lenet_train_test.prototxt"
SOLVERS = (("LeNet", "lenet_sgd"), ("LeNet with BANG", "lenet_bang"))
# The digits are 1,497 images and not 60,000: both nets are as good as they get long before 10,000.
DIGITS_ITERATIONS = 2000

EPILOG = f"""\
data
  MNIST, as `python tools/get_data.py mnist` finds or downloads it. Without it, and with --digits,
  scikit-learn's 1,797 handwritten digits, and {DIGITS_ITERATIONS:,} iterations in place of 10,000.

examples
  python tools/demo.py
  python tools/demo.py --digits --output build/demo-digits
  python tools/demo.py --iterations 1000 --output build/demo-short
"""


@dataclass(frozen=True)
class Model:
    """One row of the table: a training and its settings; beta and epsilon are BANG's, else None."""

    name: str
    solver: str
    beta: float | None
    epsilon: float | None
    result: "TrainingResult"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; end the program with a sentence if they make no sense."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data-dir", type=Path, metavar="DIR", help="where MNIST's raw files lie")
    add("--digits", action="store_true", help="take scikit-learn's digits, not MNIST")
    add("--iterations", type=int, metavar="N", help="train for N iterations")
    add("--seed", type=int, default=1, metavar="N", help="of both trainings (default: %(default)s)")
    add("--again", action="store_true", help="train again what was trained before")
    add(
        "--output",
        type=Path,
        metavar="DIR",
        default=ROOT / "build" / "demo",
        help="where to write (default: build/demo)",
    )
    arguments = parser.parse_args(argv)
    if arguments.iterations is not None and arguments.iterations < 1:
        parser.error(f"--iterations must be at least 1, and is {arguments.iterations}")
    if arguments.seed < 0:
        parser.error(f"--seed must not be negative, and is {arguments.seed}")
    if arguments.digits and arguments.data_dir:
        parser.error("--digits need no --data-dir")
    return arguments


def train_models(arguments: argparse.Namespace, data: "Prepared") -> list[Model]:
    """Train every model, or take it over where it is there."""
    from caffe_ext.solver_settings import read_settings
    from caffe_ext.training import TrainingRequest, train

    iterations = arguments.iterations or (DIGITS_ITERATIONS if data.record.embedded else None)
    folder = os.path.relpath(data.folder, ROOT)
    sources = {f"data/mnist/{part}": f"{folder}/{part}" for part in ("train_lmdb", "test_lmdb")}
    models = []
    for name, solver in SOLVERS:
        path = ROOT / "solvers" / f"{solver}.prototxt"
        overrides = solver_overrides(arguments.seed, iterations, data)
        settings = read_settings(path, overrides, root=ROOT).solver
        bang = settings.bang_param if settings.type == "BANG" else None
        request = TrainingRequest(
            path, arguments.output / solver, overrides, sources, ROOT, arguments.again
        )
        models.append(
            Model(
                name,
                str(path.relative_to(ROOT)),
                bang.beta if bang else None,
                bang.epsilon if bang else None,
                train(request, Console()),
            )
        )
    return models


def solver_overrides(seed: int, iterations: int | None, data: "Prepared") -> str:
    """Return what is changed in the solver files, as protobuf text.

    The test covers every test image once. Raises DataError if its batches cannot.
    """
    from caffe_ext.data import DataError

    images, batch = data.record.images["test_lmdb"], 100  # the batch of NETWORK
    if images % batch:
        raise DataError(
            f"{data.folder} has {images:,} test images, which {NETWORK.name} cannot cover exactly "
            f"with its batches of {batch}"
        )
    overrides = [f"random_seed: {seed}", f"test_iter: {images // batch}"]
    if iterations is not None:
        overrides.append(f"max_iter: {iterations}")
        if iterations % 500:
            overrides.append(f"test_interval: {iterations}")  # so that the end is tested
    return " ".join(overrides)


def table(models: Sequence[Model]) -> str:
    """Return the table of results."""
    heads = ("model", "beta", "epsilon", "test accuracy", "training time")
    rows = [heads]
    for model in models:
        result = model.result
        minutes, seconds = divmod(round(result.seconds), 60)
        rows.append(
            (
                model.name,
                "–" if model.beta is None else f"{model.beta:g}",
                "–" if model.epsilon is None else f"{model.epsilon:g}",
                "–" if result.accuracy is None else f"{result.accuracy:.2%}",
                f"{minutes} min {seconds:2} s",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
    return "\n".join([lines[0], "─" * len(lines[0]), *lines[1:]])


def save(arguments: argparse.Namespace, data: "Prepared", models: Sequence[Model]) -> Path:
    """Write result.json; return its path."""
    from caffe_ext.provenance import provenance, sha256

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
    partial = path.with_name(".result.json")
    partial.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)
    return path


def shown(path: Path) -> str:
    """Return a path as messages and records have it: relative if it lies in the checkout."""
    path = path.absolute()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    from caffe_ext.data import DataError, Request, prepare
    from caffe_ext.training import TrainingError

    request = Request(
        name="digits" if arguments.digits else "mnist",
        # MNIST's data bases lie where the solver files look for them.
        output=arguments.output / "data" if arguments.digits else DATA,
        data_dir=arguments.data_dir,
        homes=(DATA,),
    )
    try:
        data = prepare(request, Console())
        print(f"data: {data.record.content}, in {shown(data.folder)}", flush=True)
        models = train_models(arguments, data)
        path = save(arguments, data, models)
    except (DataError, TrainingError) as error:
        sys.exit(f"{error}")
    print(f"\n{table(models)}\n\nThe weights, the logs and all settings: {shown(path)}")
    print("One run's times tell little about the cost of BANG; `make bench` measures it.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    arguments = parse(argv)
    # A polite kill ends this process the way errors do, so that the training ends with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return run_program(run, arguments)


if __name__ == "__main__":
    sys.exit(main())
