"""Certify models by bounds on their logits for all images within an Linf distance.

A certificate holds for every image within the distance, not only for those that some attack finds.
An attack at the same distance is run beside it: the true robust accuracy lies between the two.
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
from typing import TYPE_CHECKING

from caffe_ext.cli.certify_arguments import (
    METHODS,
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
    from caffe_ext.certification.bounds_result import BoundsResult
    from caffe_ext.certification.bounds_study import BoundsStudy


EPILOG = f"""\
{MODELS_HELP}
  Nets of Convolution, InnerProduct, ReLU, Pooling (MAX, AVE), BatchNorm, Scale, Bias, Flatten,
  Eltwise SUM and Dropout can be bounded; any other layer is refused by name, and so are
  committees and smoothed models.

{IMAGES_HELP}
methods
  interval   interval arithmetic: fastest, loosest
  crown-ibp  intervals inside, linear bounds from the logits to the image
  crown      linear bounds for the units inside as well: tightest
  dual       the dual bound of Wong and Kolter (2018)

what is written
  build/certify_bounds/bounds.json      accuracies, and all that they depend on
  build/certify_bounds/bounds.csv       one row per model, method, image and radius
  build/certify_bounds/bounds.png       and .svg: accuracies, certified and under attack
  build/certify_bounds/bounds-*.json    bounds of all logits, from which an interrupted run resumes

examples
  caffe-ext certify bounds
  caffe-ext certify bounds --radii 1 2 0.1of1 --methods interval crown --largest --limit 20
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this method."""
    add_model_arguments(parser, several=True)
    add_image_arguments(parser, limit=100)
    add = parser.add_argument_group("bounds").add_argument
    add_radii(add)
    add(
        "--methods",
        nargs="+",
        choices=METHODS,
        default=["crown"],
        help="methods that bound the logits (default: crown)",
    )
    add(
        "--largest",
        action="store_true",
        help="also find the largest certified radius of each image, by bisection",
    )
    add(
        "--no-attack",
        action="store_true",
        help="omit the attack (default: PGD of 40 steps on the margin, from a random start)",
    )
    add_memory(add)
    add_output(parser.add_argument_group("output"), ROOT / "build" / "certify_bounds")
    add_again(parser, "discard earlier bounds in --output")


def check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """End the program with a sentence if the arguments are wrong."""
    check_at_least(parser, arguments, 1, "batch_size", "memory")
    read_radii(parser, arguments)


def make_study(arguments: argparse.Namespace) -> "BoundsStudy":
    """Return what the arguments say is to be bounded.

    Raises DataError, FileNotFoundError and ValueError, each with a sentence for the user.
    """
    from caffe_ext.certification.bounds_study import BoundsSettings, BoundsStudy
    from caffe_ext.models.description import collect_class_numbers

    models = find_loadable(arguments)
    settings = BoundsSettings(
        tuple(arguments.radii),
        tuple(dict.fromkeys(arguments.methods)),
        largest=arguments.largest,
        attack="" if arguments.no_attack else BoundsSettings.attack,
        memory=arguments.memory << 20,
    )
    return BoundsStudy(
        models,
        open_source(arguments, collect_class_numbers(models)),
        arguments.output,
        settings,
        **collect_study_options(arguments),
    )


def show(result: "BoundsResult", arguments: argparse.Namespace) -> None:
    """Print the tables, and what they say."""
    print(result.format_table())
    print(
        f"\n{', '.join(result.models[0].margins)}: share of the {len(result.labels):,} images that "
        "are certified, at least robust; under attack: at most.\nDistances: grey levels (of 1)."
    )
    print(f"All images, the plot and the settings: {shorten_path(arguments.output)}")
