"""Decide exactly whether any image within an Linf distance is misclassified, for small nets.

Bounds certify some images, and an attack breaks others. A mixed-integer program, or branch and
bound over the pixels, decides the rest, or proves a lower bound in the time that it has.
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
from math import isfinite
from typing import TYPE_CHECKING

from caffe_ext.cli.certify_arguments import (
    add_memory,
    add_radii,
    collect_study_options,
    read_radii,
)
from caffe_ext.cli.image_arguments import HELP as IMAGES_HELP
from caffe_ext.cli.image_arguments import add_image_arguments, open_source
from caffe_ext.cli.model_arguments import HELP as MODELS_HELP
from caffe_ext.cli.model_arguments import add_model_arguments, find_loadable
from caffe_ext.cli.parser import add_again, add_output, check_at_least
from caffe_ext.runtime.checkout import ROOT, shorten_path

if TYPE_CHECKING:
    from caffe_ext.certification.exact_result import ExactResult
    from caffe_ext.certification.exact_study import ExactStudy


EPILOG = f"""\
{MODELS_HELP}
  Nets of Convolution, InnerProduct, ReLU, Pooling (MAX, AVE), BatchNorm, Scale, Bias, Flatten,
  Eltwise SUM and Dropout can be decided; any other layer is refused by name, and so are
  committees and smoothed models. The time grows fast with the number of units that are neither
  always on nor always off within the radius.

{IMAGES_HELP}
methods
  milp    a mixed-integer linear program for each class that the bounds leave open (HiGHS)
  branch  branch and bound over the pixels: nets of at most 64 inputs

what is written
  build/certify_exact/exact.json      shares of the images, and all that they depend on
  build/certify_exact/exact.csv       a row for each model, image and radius
  build/certify_exact/exact.npz       the adversarials
  build/certify_exact/exact.png       and .svg: robust images over the radius
  build/certify_exact/exact-*.json    decisions, from which an interrupted run resumes; with a
                                      larger --time-limit, what is undecided is tried again

examples
  caffe-ext certify exact
  caffe-ext certify exact --radii 8 --pixels whole --time-limit 600 --limit 20
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this method."""
    add_model_arguments(parser, several=True)
    add_image_arguments(parser, limit=20)
    add = parser.add_argument_group("exact").add_argument
    add_radii(add)
    add(
        "--method",
        dest="search",
        choices=("milp", "branch"),
        default="milp",
        help="how to decide what bounds and the attack leave open (default: %(default)s)",
    )
    add(
        "--pixels",
        choices=("real", "whole"),
        default="real",
        help="values of perturbed pixels: any real number, or whole grey levels "
        "(default: %(default)s)",
    )
    add(
        "--time-limit",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="for the search of an image at a radius, with the writing of its program, which is "
        "finished in any case (default: %(default)g)",
    )
    add(
        "--largest",
        action="store_true",
        help="also find the largest robust radius of each image, by bisection",
    )
    add(
        "--no-attack",
        action="store_true",
        help="omit the attack (default: APGD of 100 steps on the targeted DLR loss)",
    )
    add_memory(add)
    add_output(parser.add_argument_group("output"), ROOT / "build" / "certify_exact")
    add_again(parser, "discard earlier decisions in --output")


def check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """End the program with a sentence if the arguments are wrong."""
    check_at_least(parser, arguments, 1, "batch_size", "memory")
    if not (isfinite(arguments.time_limit) and arguments.time_limit > 0):
        parser.error(f"--time-limit must be above 0 seconds, not {arguments.time_limit:g}")
    read_radii(parser, arguments)


def make_study(arguments: argparse.Namespace) -> "ExactStudy":
    """Return what the arguments say is to be decided.

    Raises DataError, FileNotFoundError and ValueError, each with a sentence for the user.
    """
    from caffe_ext.certification.exact import ExactMethod
    from caffe_ext.certification.exact_study import ExactSettings, ExactStudy
    from caffe_ext.models.description import collect_class_numbers

    models = find_loadable(arguments)
    method = ExactMethod(
        arguments.search,
        arguments.pixels,
        attack="" if arguments.no_attack else None,
        memory=arguments.memory << 20,
    )
    return ExactStudy(
        models,
        open_source(arguments, collect_class_numbers(models)),
        arguments.output,
        ExactSettings(
            tuple(arguments.radii), method, arguments.time_limit, largest=arguments.largest
        ),
        **collect_study_options(arguments),
    )


def show(result: "ExactResult", arguments: argparse.Namespace) -> None:
    """Print the table, and what it says."""
    print(result.format_table())
    print(
        f"\nShares of the {len(result.labels):,} images. Robust: no image within the distance is "
        "misclassified;\nvulnerable: one is. Bounds certify at most what is robust; at least that "
        "is left under attack.\nDistances: grey levels (of 1)."
    )
    print(
        f"All images, the adversarials, the plot and the settings: {shorten_path(arguments.output)}"
    )
