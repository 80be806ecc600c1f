"""Fine-tune LeNets on hard positives, and measure Table 1 and Figure 6 of the PASS paper.

Three LeNets are trained on MNIST. Each is attacked, and fine-tuned three times, in different
orders, on each kind of hard positives. All networks are tested on MNIST's test images and on 5,000
adversarials of each of 14 types. Everything goes to build/pass_table1, and the same command resumes
an interrupted run. With --results, tables and pictures are written, beside the paper's figures.
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse

from caffe_ext.cli.console import Console
from caffe_ext.cli.device_argument import add_device_argument
from caffe_ext.cli.parser import add_output, add_results, check_at_least
from caffe_ext.cli.training_arguments import (
    add_digits,
    check_digits,
    check_training,
    print_data,
)
from caffe_ext.runtime.checkout import ROOT, shorten_path

ROWS = (
    *("HC-D-9-1.05", "HC-D-9", "deformed", "FGV", "HC-D-5", "HC-S-5", "FGS", "basic", "originals"),
)
EPILOG = """\
rows
  HC-D-9-1.05  HC-1 to HC-9, each 1.05 times as far as needed
  HC-D-9       HC-1 to HC-9                  HC-D-5  HC-1 to HC-5
  HC-S-5       HC-1 to HC-5, their signs     FGV, FGS
  deformed     trained from random weights on deformed digits, in the place of InfiMNIST's
  basic        LeNet before the fine-tuning
  originals    fine-tuned for as long without hard positives (not in the paper)

time
  The whole takes 3.6 hours on a core of a current server, the second example an hour.

examples
  caffe-ext study pass-table1 --results results/pass_table1
  caffe-ext study pass-table1 --orderings 1 --attacked 10000 --fine-tuning 10000 \\
      --deformed 250000
  caffe-ext study pass-table1 --digits --bases 1 --orderings 1 --iterations 500 --fine-tuning 500
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    training = parser.add_argument_group("training")
    add = training.add_argument
    add("--bases", type=int, default=3, metavar="N", help="LeNets (default: %(default)s)")
    add(
        "--orderings",
        type=int,
        default=3,
        metavar="N",
        help="fine-tunings of each on the same images (default: %(default)s)",
    )
    add(
        "--rows",
        nargs="+",
        choices=ROWS,
        metavar="ROW",
        default=list(ROWS),
        help="rows of the table (default: all)",
    )
    add(
        "--iterations",
        type=int,
        default=10_000,
        metavar="N",
        help="of the training of a LeNet (default: 10,000)",
    )
    add(
        "--fine-tuning",
        type=int,
        default=20_000,
        metavar="N",
        help="iterations of a fine-tuning (default: 20,000)",
    )
    add("--attacked", type=int, metavar="N", help="training images to attack (default: all)")
    add(
        "--deformed",
        type=int,
        default=1_000_000,
        metavar="N",
        help="deformed digits to train on (default: 1,000,000)",
    )
    add("--no-ranges", action="store_true", help="without the ranges of PASS of Figure 6")
    add(
        "--alone",
        action="store_true",
        help="fine-tune on hard positives only (default: mixed with all originals)",
    )
    add("--seed", type=int, default=1, metavar="N", help="of the first LeNet (default: 1)")
    add_digits(training)
    add_device_argument(parser)
    parser.add_argument_group("measurement").add_argument(
        "--held-out",
        type=int,
        default=5_000,
        metavar="N",
        help="adversarials of each type in the test set (default: 5,000)",
    )
    output = parser.add_argument_group("output")
    add_results(output)
    add_output(output, ROOT / "build" / "pass_table1")


def check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """End the program with a sentence if the arguments make no sense."""
    names = ("bases", "orderings", "attacked", "deformed", "held_out")
    check_at_least(parser, arguments, 1, *names)
    check_training(parser, arguments, "iterations", "fine_tuning")
    check_digits(parser, arguments)


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    from caffe_ext.runtime.quiet import silence_caffe
    from caffe_ext.studies.pass_table1.design import StudySettings
    from caffe_ext.studies.pass_table1.study import PassStudy
    from caffe_ext.studies.pass_table1.table import format_console, write_tables

    settings = StudySettings(
        bases=arguments.bases,
        orderings=arguments.orderings,
        rows=tuple(dict.fromkeys(arguments.rows)),
        iterations=arguments.iterations,
        fine_tuning=arguments.fine_tuning,
        attacked=arguments.attacked,
        held_out=arguments.held_out,
        deformed=arguments.deformed,
        ranges=not arguments.no_ranges,
        mix=not arguments.alone,
        seed=arguments.seed,
    )
    study = PassStudy(
        settings,
        arguments.output,
        digits=arguments.digits,
        data_dir=arguments.data_dir,
        gpu=arguments.gpu,
    )
    data = study.prepare_data(Console())
    print_data(data)
    with silence_caffe():
        findings = study.run(data, Console())
    print(f"\n{format_console(findings)}")
    if arguments.results is not None:
        path = write_tables(arguments.results, settings, findings, data.record.content)
        print(f"\nThe tables beside the paper's: {shorten_path(path)}")
