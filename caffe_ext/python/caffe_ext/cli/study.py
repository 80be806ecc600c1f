"""Reproduce the experiments of papers: train the models, measure them, compare with the paper."""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import sys
from collections.abc import Sequence

from caffe_ext.cli import (
    study_distortion,
    study_human,
    study_landscape,
    study_pass_table1,
    study_report_table1,
)
from caffe_ext.cli.console import run_stoppable
from caffe_ext.cli.parser import add_modules, create_parser

EPILOG = """\
`caffe-ext study STUDY --help` shows the options of a study.

examples
  caffe-ext study distortion
  caffe-ext study pass-table1 --bases 1 --orderings 1
  caffe-ext study report-table1
  caffe-ext study human prepare
  caffe-ext study landscape
"""
STUDIES = {
    "distortion": (
        study_distortion,
        "dropout, filters, autoencoder, committees (Uličný et al., Table 2, Figures 3 to 7)",
    ),
    "human": (study_human, "people and networks on noisy digits (Uličný et al., Figure 8)"),
    "landscape": (study_landscape, "minima of a net on Iris and their sensitivity (Wang et al.)"),
    "pass-table1": (
        study_pass_table1,
        "LeNets fine-tuned on hard positives (Rozsa et al., 2016, Table 1, Figure 6)",
    ),
    "report-table1": (
        study_report_table1,
        "adversarial and noisy training of CIFAR-10 quick (Mallam Garba et al., Table 1)",
    ),
}
"""The module of each study in this folder, and what it is about in one line.

Each has add_arguments(parser), check(parser, arguments), which ends the program with a sentence if
they are wrong, and run(arguments), before which --output and --results, if there is such an
option, are checked.
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of this program."""
    parser = create_parser("study", __doc__, EPILOG)
    add_modules(parser, "study", STUDIES)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    from caffe_ext.data import DataError
    from caffe_ext.errors import RecordError, WorkerError
    from caffe_ext.runs.output_folder import check_writable
    from caffe_ext.training import TrainingError

    check_writable(arguments.output)
    if getattr(arguments, "results", None) is not None:
        check_writable(arguments.results, "--results")
    try:
        STUDIES[arguments.study][0].run(arguments)
    except (DataError, RecordError, TrainingError, ValueError, WorkerError) as error:
        sys.exit(f"{error}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    arguments = make_parser().parse_args(argv)
    STUDIES[arguments.study][0].check(arguments.parser, arguments)
    return run_stoppable(run, arguments)
