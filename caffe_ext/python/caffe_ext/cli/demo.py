"""Train the plain LeNet and the BANG LeNet on MNIST, attack both, and compare them.

Everything goes to build/demo: the trained weights, the logs, result.json, which holds the figures
with all that they depend on, adversarials, and a first robustness report. Finished models are not
trained again.
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from caffe_ext.cli.attack_report import print_campaign
from caffe_ext.cli.console import Console, run_stoppable
from caffe_ext.cli.evaluation_report import print_assessment
from caffe_ext.cli.training_arguments import (
    format_outcome,
    format_setting,
    make_lenet_training,
    make_training_parser,
    parse_training,
    print_data,
)
from caffe_ext.reporting import format_table
from caffe_ext.runtime.checkout import DATA, shorten_path

if TYPE_CHECKING:
    from caffe_ext.data import PreparedFolder
    from caffe_ext.studies.lenet_pair import TrainedLeNet

HOT_COLD_IMAGES = 100

EPILOG = """\
data
  MNIST, as `caffe-ext get-data mnist` finds or downloads it. Without it, and with --digits,
  scikit-learn's 1,797 handwritten digits, and 2,000 iterations instead of 10,000.

examples
  caffe-ext demo
  caffe-ext demo --digits --output build/demo-digits
  caffe-ext demo --iterations 1000 --output build/demo-short
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of this program."""
    return make_training_parser("demo", __doc__, EPILOG, "build/demo", "seed of both training runs")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; end the program with a sentence if they are wrong."""
    return parse_training(make_parser(), argv)


def format_results(models: "Sequence[TrainedLeNet]") -> str:
    """Return the table of results."""
    heads = ("model", "beta", "epsilon", "test accuracy", "training time")
    rows = [
        (
            model.name,
            format_setting(model.beta),
            format_setting(model.epsilon),
            *format_outcome(model.result),
        )
        for model in models
    ]
    return format_table([heads, *rows])


def measure(
    arguments: argparse.Namespace, data: "PreparedFolder", models: "Sequence[TrainedLeNet]"
) -> None:
    """Show the smallest adversarials of both models, and how robust they are; briefly."""
    from caffe_ext.attacks.registry import parse_attack
    from caffe_ext.data import open_images
    from caffe_ext.evaluation.assessment import Assessment
    from caffe_ext.evaluation.presets import QUICK
    from caffe_ext.models.description import read_model
    from caffe_ext.runs.campaign import AttackCampaign
    from caffe_ext.studies.lenet_pair import SOLVERS
    from caffe_ext.training.lenet import write_lenet_file

    output: Path = arguments.output
    described = [
        read_model(write_lenet_file(output, SOLVERS[model.name], model.result.weights, model.name))
        for model in models
    ]
    opener = partial(open_images, f"{(data.folder / 'test_lmdb').absolute()}")
    print(f"\nHot/cold adversarials of the first {HOT_COLD_IMAGES} test images", flush=True)
    campaign = AttackCampaign(
        described,
        [parse_attack("hc1")],
        opener(),
        output / "hotcold",
        limit=HOT_COLD_IMAGES,
        again=True,
        seed=1,
    )
    print_campaign(campaign.run(Console()))
    print("\nA first report on robustness (`caffe-ext evaluate` makes the whole one)", flush=True)
    settings = QUICK.make_settings(opener(), again=True)
    assessment = Assessment(described, opener, settings, output / "evaluate")
    print_assessment(assessment.run(Console()), assessment.folder)


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    from caffe_ext.data import DataError
    from caffe_ext.errors import RecordError, WorkerError
    from caffe_ext.runtime.quiet import silence_caffe
    from caffe_ext.studies.lenet_pair import train_pair, write_pair_record
    from caffe_ext.training import TrainingError

    training = make_lenet_training(arguments)
    # MNIST's databases lie where the solver files look for them.
    folder = arguments.output / "data" if arguments.digits else DATA
    try:
        data = training.prepare_data(folder, Console())
        print_data(data)
        models = train_pair(training, data, Console())
        path = write_pair_record(training, data, models)
        print(f"\n{format_results(models)}\n")
        print(f"The weights, the logs and all settings: {shorten_path(path)}")
        print("The times of one run tell little about the cost of BANG; `make bench` measures it.")
        with silence_caffe():
            measure(arguments, data, models)
    except (DataError, RecordError, TrainingError, ValueError, WorkerError) as error:
        sys.exit(f"{error}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    return run_stoppable(run, parse(argv))
