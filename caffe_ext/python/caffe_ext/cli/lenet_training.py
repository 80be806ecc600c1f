"""What the programs that train LeNets share: their options, the data, a training, the table."""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from caffe_ext.cli.checkout import DATA, ROOT, shown
from caffe_ext.cli.console import Console, run_program
from caffe_ext.cli.device_argument import add_device_argument
from caffe_ext.cli.parser import add_again, new_parser
from caffe_ext.storage.atomic import write_text

if TYPE_CHECKING:
    from caffe_ext.data import Prepared
    from caffe_ext.training import TrainingRequest, TrainingResult

NETWORK = ROOT / "prototxt" / "lenet_train_test.prototxt"
# The digits are 1,497 images and not 60,000: the nets are as good as they get long before 10,000.
DIGITS_ITERATIONS = 2000


def training_parser(
    subcommand: str, description: str | None, epilog: str, output: str, seed_of: str
) -> argparse.ArgumentParser:
    """Return a parser with the options of every such program.

    output   the folder to write to by default, relative to the checkout
    seed_of  what the seed is of, for --help
    """
    parser = new_parser(subcommand, description, epilog)
    add = parser.add_argument
    add("--data-dir", type=Path, metavar="DIR", help="where MNIST's raw files lie")
    add("--digits", action="store_true", help="take scikit-learn's digits, not MNIST")
    add("--iterations", type=int, metavar="N", help="train for N iterations")
    add("--seed", type=int, default=1, metavar="N", help=f"{seed_of} (default: %(default)s)")
    add_again(parser, "train again what was trained before")
    add(
        "--output",
        type=Path,
        metavar="DIR",
        default=ROOT / output,
        help=f"where to write (default: {output})",
    )
    add_device_argument(parser)
    return parser


def parse_training(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None
) -> argparse.Namespace:
    """Return the arguments; end the program with a sentence if those of every program are wrong."""
    arguments = parser.parse_args(argv)
    if arguments.iterations is not None and arguments.iterations < 1:
        parser.error(f"--iterations must be at least 1, and is {arguments.iterations}")
    if arguments.seed < 0:
        parser.error(f"--seed must not be negative, and is {arguments.seed}")
    if arguments.digits and arguments.data_dir:
        parser.error("--digits need no --data-dir")
    return arguments


def prepare_data(arguments: argparse.Namespace, output: Path, validation: int = 0) -> "Prepared":
    """Make the data bases that the arguments ask for in the folder, and say what they hold.

    Raises DataError.
    """
    from caffe_ext.data import Request, prepare

    request = Request(
        name="digits" if arguments.digits else "mnist",
        output=output,
        data_dir=arguments.data_dir,
        homes=(DATA,),
        validation=validation,
    )
    data = prepare(request, Console())
    print(f"data: {data.record.content}, in {shown(data.folder)}", flush=True)
    return data


def training_request(
    arguments: argparse.Namespace, data: "Prepared", solver: str, name: str, changes: str
) -> "TrainingRequest":
    """Return the request to train on the data, for as long as the arguments say.

    solver   the name of a file in solvers/
    name     of the training, and of its folder in --output
    changes  what else is changed in the solver file, as protobuf text
    """
    from caffe_ext.training import TrainingRequest

    iterations = arguments.iterations or (DIGITS_ITERATIONS if data.record.embedded else None)
    folder = os.path.relpath(data.folder, ROOT)
    return TrainingRequest(
        solver=ROOT / "solvers" / f"{solver}.prototxt",
        output=arguments.output / name,
        overrides=f"{schedule(iterations, data)} {changes}",
        sources={f"data/mnist/{part}": f"{folder}/{part}" for part in ("train_lmdb", "test_lmdb")},
        root=ROOT,
        again=arguments.again,
        gpu=arguments.gpu,
    )


def schedule(iterations: int | None, data: "Prepared") -> str:
    """Return for how long is trained and how it is tested, as protobuf text.

    The test covers every test image once. Raises DataError if its batches cannot.
    """
    from caffe_ext.data import DataError

    images, batch = data.record.images["test_lmdb"], 100  # the batch of NETWORK
    if images % batch:
        raise DataError(
            f"{data.folder} has {images:,} test images, which {NETWORK.name} cannot cover exactly "
            f"with its batches of {batch}"
        )
    overrides = [f"test_iter: {images // batch}"]
    if iterations is not None:
        overrides.append(f"max_iter: {iterations}")
        if iterations % 500:
            overrides.append(f"test_interval: {iterations}")  # so that the end is tested
    return " ".join(overrides)


def describe_model(folder: Path, stem: str, weights: Path, name: str) -> Path:
    """Write <stem>.yaml, by which other programs know a model: lenet.yaml with name and weights."""
    source = ROOT / "prototxt" / "lenet.yaml"
    changes = {
        "name": name,
        "deploy": os.path.relpath(source.with_name("lenet_deploy.prototxt"), folder),
        "weights": os.path.relpath(weights, folder),
    }
    rest = [
        line
        for line in source.read_text(encoding="utf-8").splitlines()
        if line.partition(":")[0] not in changes and not line.startswith("#")
    ]
    path = folder / f"{stem}.yaml"
    lines = [f"{key}: {value}" for key, value in changes.items()] + rest
    write_text(path, "\n".join(lines) + "\n")
    return path


def setting(value: float | None) -> str:
    """Return one of BANG's settings as tables have it."""
    return "–" if value is None else f"{value:g}"


def outcome(result: "TrainingResult") -> tuple[str, str]:
    """Return the accuracy and the time of a training as tables have them."""
    minutes, seconds = divmod(round(result.seconds), 60)
    accuracy = "–" if result.accuracy is None else f"{result.accuracy:.2%}"
    return accuracy, f"{minutes} min {seconds:2} s"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return a table, the first row its heads, in columns of equal width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
    return "\n".join([lines[0], "─" * len(lines[0]), *lines[1:]])


def run_training(run: Callable[[argparse.Namespace], None], arguments: argparse.Namespace) -> int:
    """Run a program that trains; return its exit status."""
    # A polite kill ends this process the way errors do, so that the training ends with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    return run_program(run, arguments)
