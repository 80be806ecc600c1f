"""Train the eight LeNets of Table 1 of the BANG paper (Rozsa, Günther and Boult, 2018) on MNIST.

Everything goes to build/table1: a folder for each model, with snapshots from throughout its
training, the data, and models.json, which lists the models with all that they depend on. Finished
models are not trained again. With --evaluate the models are also attacked, and their table is
written beside the paper's.
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from caffe_ext.cli.attack_report import print_campaign
from caffe_ext.cli.console import Console, run_stoppable
from caffe_ext.cli.evaluation_report import print_assessment
from caffe_ext.cli.image_arguments import HOMES
from caffe_ext.cli.parser import check_at_least, check_at_most, parse_path
from caffe_ext.cli.training_arguments import (
    MOST_ITERATIONS,
    format_outcome,
    format_setting,
    make_lenet_training,
    make_training_parser,
    parse_training,
    print_data,
)
from caffe_ext.reporting import format_table
from caffe_ext.runtime.checkout import shorten_path

if TYPE_CHECKING:
    from caffe_ext.data import PreparedFolder
    from caffe_ext.studies.table1.comparison import Table1Comparison
    from caffe_ext.studies.table1.training import Table1Training, TrainedModel

IDS = ("R0", "R1", "B0", "B1", "B2", "B3", "B4", "B5")

EPILOG = """\
models
  R0 and R1 are plain LeNets, B0 to B5 are trained with BANG. Each starts from its own
  seed: --seed is R0's, R1's is one more, and so on to B5's, as in the table.

data
  MNIST's 60,000 training images: the last 10,000 are held out for validation, as in the
  paper; the others are trained on. With --digits scikit-learn's 1,797 handwritten digits, of
  which 250 are held out, and 2,000 iterations instead of 10,000.

what is written
  build/table1/R0/R0_iter_500.caffemodel, ..., R0_iter_10000.caffemodel    the weights
  build/table1/data                                                        the databases
  build/table1/R0.yaml, models.json                                        after each model
  build/table1/attacks/R0-R1-1a2b3c4d                                      with --evaluate
  A run with other settings, including --snapshots, is moved aside: build/table1/R0/earlier.
  Attacks on other models, or on the same models with other weights, go to their own folder.
  Two of these programs may run at once if they train different --models on the same data.

examples
  caffe-ext table1
  caffe-ext table1 --evaluate results/table1       # train, attack, compare with the paper
  caffe-ext table1 --models R0 B1
  caffe-ext table1 --digits --output build/table1-digits
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of this program."""
    parser = make_training_parser(
        "table1", __doc__, EPILOG, "build/table1", "seed of R0; see below"
    )
    add = parser.add_argument
    add(
        "--models",
        nargs="+",
        choices=IDS,
        metavar="ID",
        default=list(IDS),
        help="models to train, in this order (default: all)",
    )
    add(
        "--evaluate",
        type=parse_path,
        metavar="DIR",
        help="attack the models (with --again: once more) and write their table, a report and a "
        "picture to DIR",
    )
    add(
        "--validation",
        type=int,
        metavar="N",
        help="hold out the last N training images; 0: train on all (default: see below)",
    )
    add(
        "--snapshots",
        type=int,
        metavar="N",
        default=500,
        help="save the weights every N iterations; 0: only the last (default: %(default)s)",
    )
    return parser


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; end the program with a sentence if they are wrong."""
    parser = make_parser()
    arguments = parse_training(parser, argv)
    check_at_least(parser, arguments, 0, "validation", "snapshots")
    check_at_most(parser, arguments, MOST_ITERATIONS, "snapshots")
    return arguments


def format_rows(rows: "Sequence[TrainedModel]") -> str:
    """Return the table of models, with their seeds and results."""
    heads = ("model", "beta", "epsilon", "seed", "test accuracy", "training time")
    lines = [
        (
            one.model.id,
            format_setting(one.model.beta),
            format_setting(one.model.epsilon),
            f"{one.seed}",
            *format_outcome(one.result),
        )
        for one in rows
    ]
    return format_table([heads, *lines])


def make_comparison(
    arguments: argparse.Namespace,
    training: "Table1Training",
    data: "PreparedFolder",
    trained: "Sequence[TrainedModel]",
) -> "Table1Comparison":
    """Return what is to be compared with the paper, and on which images."""
    from caffe_ext.data import open_images
    from caffe_ext.models.description import read_model
    from caffe_ext.studies.table1.comparison import Table1Comparison, describe_departure
    from caffe_ext.studies.table1.training import locate_attacks

    digits = data.record.embedded
    images = f"{(data.folder / 'test_lmdb').absolute()}" if digits else "mnist"
    return Table1Comparison(
        [read_model(arguments.output / f"{one.model.id}.yaml") for one in trained],
        partial(open_images, images, data_dir=arguments.data_dir, homes=HOMES),
        locate_attacks(arguments.output, trained),
        arguments.evaluate,
        describe_departure(trained[0].result.iterations, training.validation_images, digits=digits),
        arguments.again,
    )


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    from caffe_ext.data import DataError
    from caffe_ext.errors import RecordError, WorkerError
    from caffe_ext.runs.output_folder import check_writable
    from caffe_ext.runtime.quiet import silence_caffe
    from caffe_ext.studies.table1.training import LIST, MODELS, Table1Training
    from caffe_ext.training import TrainingError

    training = Table1Training(
        make_lenet_training(arguments), arguments.validation, arguments.snapshots
    )
    if arguments.evaluate is not None:
        check_writable(arguments.evaluate, "--evaluate")
    try:
        data = training.prepare_data(Console())
        print_data(data)
        trained = [training.train(data, MODELS[name], Console()) for name in arguments.models]
        path = shorten_path(arguments.output / LIST)
        print(f"\n{format_rows(trained)}\n")
        print(f"The weights, the settings and where they come from: {path}")
        if arguments.evaluate is not None:
            comparison = make_comparison(arguments, training, data, trained)
            with silence_caffe():
                print_assessment(comparison.evaluate(Console()), comparison.work / "evaluation")
                print_campaign(comparison.attack(Console()))
            print(f"\nThe table beside the paper's: {shorten_path(comparison.write())}")
    except (DataError, RecordError, TrainingError, ValueError, WorkerError) as error:
        sys.exit(f"{error}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    return run_stoppable(run, parse(argv))
