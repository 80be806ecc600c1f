"""What the programs that train LeNets share: their options, and cells of their tables."""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from caffe_ext.cli.device_argument import add_device_argument
from caffe_ext.cli.parser import (
    add_again,
    add_output,
    check_at_least,
    check_at_most,
    create_parser,
    parse_path,
)
from caffe_ext.reporting import format_minutes
from caffe_ext.runtime.checkout import ROOT, shorten_path

if TYPE_CHECKING:
    from caffe_ext.data import PreparedFolder
    from caffe_ext.training import TrainingResult
    from caffe_ext.training.lenet import LeNetTraining


MOST_ITERATIONS, MOST_SEED = 2**31 - 1, 2**32 - 1


def make_training_parser(
    subcommand: str, description: str | None, epilog: str, output: str, seed_of: str
) -> argparse.ArgumentParser:
    """Return a parser with the options of every such program.

    output   the folder to write to by default, relative to the checkout
    seed_of  what the seed is of, for --help
    """
    parser = create_parser(subcommand, description, epilog)
    add_digits(parser)
    add = parser.add_argument
    add("--iterations", type=int, metavar="N", help="train for N iterations")
    add("--seed", type=int, default=1, metavar="N", help=f"{seed_of} (default: %(default)s)")
    add_again(parser, "discard earlier results and train again")
    add_output(parser, ROOT / output)
    add_device_argument(parser)
    return parser


def parse_training(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None
) -> argparse.Namespace:
    """Return the arguments; end the program with a sentence if those of every program are wrong."""
    arguments = parser.parse_args(argv)
    check_training(parser, arguments, "iterations")
    check_digits(parser, arguments)
    return arguments


def check_training(
    parser: argparse.ArgumentParser, arguments: argparse.Namespace, *iterations: str
) -> None:
    """End the program with a sentence if the seed or one of these options, which are numbers of
    iterations, is none that a solver takes.
    """
    check_at_least(parser, arguments, 1, *iterations)
    check_at_most(parser, arguments, MOST_ITERATIONS, *iterations)
    check_at_least(parser, arguments, 0, "seed")
    check_at_most(parser, arguments, MOST_SEED, "seed")


def add_digits(group: argparse._ActionsContainer) -> None:
    """Add the options about the digits to train on, of MNIST or of scikit-learn."""
    add = group.add_argument
    add("--data-dir", type=parse_path, metavar="DIR", help="folder with MNIST's raw files")
    add("--digits", action="store_true", help="train on scikit-learn's digits instead of MNIST")


def check_digits(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """End the program with a sentence if they contradict each other."""
    if arguments.digits and arguments.data_dir:
        parser.error("--data-dir does not apply to --digits")


def make_lenet_training(arguments: argparse.Namespace) -> "LeNetTraining":
    """Return what the arguments say about all training runs."""
    from caffe_ext.training.lenet import LeNetTraining

    return LeNetTraining(
        output=arguments.output,
        iterations=arguments.iterations,
        seed=arguments.seed,
        digits=arguments.digits,
        data_dir=arguments.data_dir,
        again=arguments.again,
        gpu=arguments.gpu,
    )


def print_data(data: "PreparedFolder") -> None:
    """Say what is trained on."""
    print(f"data: {data.record.content}, in {shorten_path(data.folder)}", flush=True)


def format_setting(value: float | None) -> str:
    """Return one of BANG's settings as tables have it."""
    return "–" if value is None else f"{value:g}"


def format_outcome(result: "TrainingResult") -> tuple[str, str]:
    """Return the accuracy and the time of a training as tables have them."""
    accuracy = "–" if result.accuracy is None else f"{result.accuracy:.2%}"
    return accuracy, format_minutes(result.seconds)
