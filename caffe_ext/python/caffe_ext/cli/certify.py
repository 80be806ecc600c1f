"""Certify how robust models are: lower bounds on robustness; attacks give upper bounds."""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import sys
from collections.abc import Sequence

from caffe_ext.cli import certify_bounds, certify_exact, certify_metrics, certify_smoothing
from caffe_ext.cli.console import Console, run_program
from caffe_ext.cli.parser import add_modules, create_parser

EPILOG = """\
`caffe-ext certify METHOD --help` shows the options of a method.

examples
  caffe-ext certify smoothing
  caffe-ext certify bounds
  caffe-ext certify exact
  caffe-ext certify metrics
"""

METHODS = {
    "bounds": (certify_bounds, "Linf radii of the model itself, by bounds of its logits"),
    "exact": (certify_exact, "Linf radii of small models, exactly: mixed-integer programs"),
    "metrics": (certify_metrics, "sensitivity and certified robustness: seven metrics"),
    "smoothing": (certify_smoothing, "L2 radii of the smoothed model, by random samples"),
}
"""The module of each method in this folder, and what it certifies in one line.

Each has add_arguments(parser), check(parser, arguments), which ends the program with a sentence if
they are wrong, make_study(arguments), and show(result, arguments), which prints what was found.
"""


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of this program."""
    parser = create_parser("certify", __doc__, EPILOG)
    add_modules(parser, "method", METHODS)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Do what the arguments say, or end the program with a sentence."""
    from caffe_ext.data import DataError
    from caffe_ext.errors import RecordError

    module, _ = METHODS[arguments.method]
    try:
        result = module.make_study(arguments).run(Console())
    except (DataError, RecordError, ValueError) as error:
        sys.exit(f"{error}")
    module.show(result, arguments)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    arguments = make_parser().parse_args(argv)
    module, _ = METHODS[arguments.method]
    module.check(arguments.parser, arguments)
    return run_program(run, arguments)
