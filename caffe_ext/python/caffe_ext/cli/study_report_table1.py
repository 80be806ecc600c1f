"""Train CIFAR-10 quick on noisy and attacked images, and attack it: Table 1 of Mallam Garba et al.

The report is "Building Robust Neural network models for Image classification". It has five models:
plain training, training with Gaussian noise, and adversarial training with PGD in L2, in Linf, and
in both. Each is attacked as in the report and, more strictly, by AutoAttack; the noisy model is
also measured with randomized smoothing. Everything goes to build/report_table1, and the same
command resumes an interrupted run. With --results, the tables and a picture are written, beside the
report's figures.
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
from functools import partial

from caffe_ext.cli.console import Console
from caffe_ext.cli.device_argument import add_device_argument
from caffe_ext.cli.parser import add_again, add_output, add_results, check_at_least, parse_path
from caffe_ext.cli.training_arguments import check_training, format_outcome, print_data
from caffe_ext.reporting import format_table
from caffe_ext.runtime.checkout import ROOT, shorten_path

IDS = ("basic", "noisy", "at-l2", "at-linf", "mixed")
EPILOG = """\
models
  basic    plain training
  noisy    Gaussian noise of sigma 0.12; also the base of randomized smoothing
  at-l2    half clean images, half PGD in L2
  at-linf  half clean images, half PGD in Linf
  mixed    equal parts clean, PGD in L2, PGD in Linf

radii of the training's attacks
  standard  Linf 8/255, steps of 2/255; L2 0.5, steps of 0.125 (as in solvers/)
  report    Linf 0.03, steps of 0.02; L2 0.045, steps of 0.03
  Both are of pixels in [0, 1]. Each model is measured with both.

time
  On one core of a shared server, training takes a quarter of an hour for basic and noisy together,
  1.4 hours each for at-l2 and at-linf, and 2.6 hours for mixed; on an idle one it takes little more
  than half of that. Measuring takes about 40 minutes. --models and --iterations make it shorter.

examples
  caffe-ext study report-table1
  caffe-ext study report-table1 --results results/report_table1
  caffe-ext study report-table1 --models basic noisy --iterations 2000
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    training = parser.add_argument_group("training")
    add = training.add_argument
    add(
        "--models",
        nargs="+",
        choices=IDS,
        metavar="ID",
        default=list(IDS),
        help="models to train and measure (default: all)",
    )
    add("--data-dir", type=parse_path, metavar="DIR", help="folder with CIFAR-10's raw files")
    add("--iterations", type=int, metavar="N", help="train for N iterations (default: 15,000)")
    add(
        "--radii",
        choices=("standard", "report"),
        default="standard",
        help="of the attacks in training (default: %(default)s)",
    )
    add("--seed", type=int, default=1, metavar="N", help="of the first model (default: 1)")
    add_device_argument(parser)
    add = parser.add_argument_group("measurement").add_argument
    add(
        "--limit",
        type=int,
        default=0,
        metavar="N",
        help="images for the report's attacks (default: all)",
    )
    add(
        "--strict-limit",
        type=int,
        default=1000,
        metavar="N",
        help="images for AutoAttack and randomized smoothing (default: %(default)s)",
    )
    add(
        "--samples",
        type=int,
        default=1000,
        metavar="N",
        help="noisy samples of an image for randomized smoothing (default: %(default)s)",
    )
    output = parser.add_argument_group("output")
    add_results(output)
    add_again(output, "discard earlier results, train and measure again")
    add_output(output, ROOT / "build" / "report_table1")


def check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """End the program with a sentence if the arguments make no sense."""
    check_training(parser, arguments, "iterations")
    check_at_least(parser, arguments, 1, "strict_limit", "samples")
    check_at_least(parser, arguments, 0, "limit")


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    from caffe_ext.data import open_images
    from caffe_ext.runtime.quiet import silence_caffe
    from caffe_ext.studies.robust_training.models import MODELS
    from caffe_ext.studies.robust_training.study import ReportTable
    from caffe_ext.studies.robust_training.table import format_console, write_tables
    from caffe_ext.studies.robust_training.training import RobustTraining

    training = RobustTraining(
        output=arguments.output,
        iterations=arguments.iterations,
        radii=arguments.radii,
        seed=arguments.seed,
        data_dir=arguments.data_dir,
        again=arguments.again,
        gpu=arguments.gpu,
    )
    data = training.prepare_data(Console())
    print_data(data)
    chosen = [model for name, model in MODELS.items() if name in arguments.models]
    trained = [training.train(data, model, Console()) for model in chosen]
    rows = [(one.model.title, *format_outcome(one.result)) for one in trained]
    print(f"\n{format_table([('model', 'test accuracy', 'training time'), *rows])}\n")
    study = ReportTable(
        trained,
        partial(open_images, f"{(data.folder / 'test_lmdb').absolute()}"),
        arguments.output,
        arguments.limit or None,
        arguments.strict_limit,
        arguments.samples,
        arguments.again,
    )
    with silence_caffe():
        found, _ = study.run(Console())
        print(f"\n{format_console(found)}")
        print(f"\nThe report: {shorten_path(study.strict_folder / 'report.html')}")
        if arguments.results is not None:
            path = write_tables(arguments.results, study, found, arguments.radii)
            print(f"The tables beside the report's: {shorten_path(path)}")
