"""Certify models by randomized smoothing (Cohen, Rosenfeld and Kolter, 2019).

The smoothed model gives an image the class that most of its noisy copies get. CERTIFY proves, with
an error probability of alpha, that this class is constant in an L2 ball around the image; PREDICT
gives only the class. If there are too few samples to decide, they abstain.
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
from typing import TYPE_CHECKING

from caffe_ext.cli.certify_arguments import collect_study_options
from caffe_ext.cli.device_argument import add_device_argument
from caffe_ext.cli.distance_arguments import read_distances
from caffe_ext.cli.image_arguments import HELP as IMAGES_HELP
from caffe_ext.cli.image_arguments import add_image_arguments, open_source
from caffe_ext.cli.model_arguments import HELP as MODELS_HELP
from caffe_ext.cli.model_arguments import add_model_arguments, find_loadable
from caffe_ext.cli.parser import add_again, add_output, check_at_least
from caffe_ext.runtime.checkout import ROOT, shorten_path

if TYPE_CHECKING:
    from caffe_ext.certification.smoothing import SmoothingStudy
    from caffe_ext.certification.smoothing_result import SmoothingResult

# As in Cohen et al.
SIGMAS = ("0.12of1", "0.25of1", "0.5of1")
RADII = ("0", "0.25of1", "0.5of1", "0.75of1", "1of1", "1.5of1")

EPILOG = f"""\
{MODELS_HELP}
{IMAGES_HELP}
units
  Sigmas and radii are in grey levels, 0..255, or for pixels in 0..1, as in the literature:
  63.75 and 0.25of1 are the same. The output shows both: "63.75 (0.25)".

what is written
  build/certify_smoothing/smoothing.json    certified accuracies, and all that they depend on
  build/certify_smoothing/smoothing.csv     one row per model, sigma, n and image
  build/certify_smoothing/smoothing.png     and .svg: certified accuracy over the radius
  build/certify_smoothing/counts-*.h5       counts, to resume from and to extend by a larger --n

examples
  caffe-ext certify smoothing
  caffe-ext certify smoothing --model prototxt/lenet.yaml --weights noisy.caffemodel.h5 \\
      --sigma 0.25of1 0.5of1 1of1 --n 100 1000 10000 --limit 500
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this method."""
    add_model_arguments(parser, several=True)
    add_image_arguments(parser, limit=100)
    add = parser.add_argument_group("smoothing").add_argument
    add(
        "--sigma",
        nargs="+",
        default=SIGMAS,
        metavar="SIGMA",
        help=f"standard deviations of the noise (default: {' '.join(SIGMAS)})",
    )
    add(
        "--n",
        type=int,
        nargs="+",
        default=[10_000],
        metavar="N",
        help="samples to certify an image; a curve for each value (default: 10000)",
    )
    add(
        "--n0",
        type=int,
        default=100,
        metavar="N",
        help="separate samples to select the class (default: %(default)s)",
    )
    add(
        "--alpha",
        type=float,
        default=0.001,
        metavar="P",
        help="probability that an image's certificate is wrong (default: %(default)s)",
    )
    add("--seed", type=int, default=1, metavar="N", help="seed of the noise (default: %(default)s)")
    group = parser.add_argument_group("output")
    group.add_argument(
        "--radii",
        nargs="+",
        default=RADII,
        metavar="RADIUS",
        help=f"L2 radii in the table (default: {' '.join(RADII)})",
    )
    add_output(group, ROOT / "build" / "certify_smoothing")
    add_again(parser, "discard earlier counts in --output and count again")
    add_device_argument(parser)


def check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """End the program with a sentence if the arguments are wrong."""
    check_at_least(parser, arguments, 1, "n0", "batch_size")
    arguments.sigma = read_distances(parser, "sigma", arguments.sigma, small=True)
    arguments.radii = read_distances(parser, "radii", arguments.radii, zero=True, small=True)
    if min(arguments.n) < 1:
        parser.error(f"--n must be at least 1, not {min(arguments.n)}")
    if not 0 < arguments.alpha < 1:
        parser.error(f"--alpha must lie between 0 and 1, not {arguments.alpha:g}")
    if not 0 <= arguments.seed < 2**64:
        parser.error(f"--seed must be from 0 to 2^64 - 1, not {arguments.seed}")


def make_study(arguments: argparse.Namespace) -> "SmoothingStudy":
    """Return what the arguments say is to be certified.

    Raises DataError, FileNotFoundError and ValueError, each with a sentence for the user.
    """
    from caffe_ext.certification.smoothing import SmoothingSettings, SmoothingStudy
    from caffe_ext.models.description import collect_class_numbers

    models = find_loadable(arguments)
    return SmoothingStudy(
        models,
        open_source(arguments, collect_class_numbers(models)),
        arguments.output,
        SmoothingSettings(
            sigmas=tuple(arguments.sigma),
            samples=tuple(dict.fromkeys(arguments.n)),
            n0=arguments.n0,
            alpha=arguments.alpha,
            seed=arguments.seed,
        ),
        **collect_study_options(arguments),
    )


def show(result: "SmoothingResult", arguments: argparse.Namespace) -> None:
    """Print the tables, and what they say."""
    print(result.format_table(arguments.radii))
    print(
        f"\nL2 r: share of the {len(result.labels):,} images that keep their label within r. "
        f"Distances: grey levels (of 1).\n"
        f"Each image's certificate holds with a probability of at least 1 - {result.alpha:g}."
    )
    print(f"All images, the curves and the settings: {shorten_path(arguments.output)}")
