"""Measure the sensitivity and the certified robustness of models: seven metrics side by side.

Those of Wang et al. (2019), for any model whose logits can be bounded.
"""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
from typing import TYPE_CHECKING

from caffe_ext.cli.certify_arguments import METHODS, add_memory, collect_study_options
from caffe_ext.cli.distance_arguments import read_distances
from caffe_ext.cli.image_arguments import HELP as IMAGES_HELP
from caffe_ext.cli.image_arguments import add_image_arguments, open_source
from caffe_ext.cli.model_arguments import HELP as MODELS_HELP
from caffe_ext.cli.model_arguments import add_model_arguments, find_loadable
from caffe_ext.cli.parser import add_again, add_output, check_at_least
from caffe_ext.runtime.checkout import ROOT, shorten_path

if TYPE_CHECKING:
    from caffe_ext.certification.metrics_result import MetricsResult
    from caffe_ext.certification.metrics_study import MetricsStudy


EPILOG = f"""\
{MODELS_HELP}
  The nets are those of `certify bounds`.

{IMAGES_HELP}
metrics
  CE        cross-entropy
  ERR       share of the images that are misclassified
  SENSE     volume of the box that bounds the logits of all images within epsilon
  JACOB     Frobenius norm of the derivative of the logits by the network's input
  SPECTRAL  sum of the spectral norms of all layers' weights
  ADV_LOSS  cross-entropy of the worst logits within epsilon
  ADV_ERR   share of the images that are not certified, or misclassified
  All but SPECTRAL are means over the images. Pixels within epsilon may leave 0..255.

what is written
  build/certify_metrics/metrics.json      the metrics, and all that they depend on
  build/certify_metrics/metrics.csv       one row per model and image
  build/certify_metrics/metrics.png       and .svg: the metrics over training, of snapshots
                                          NAME_iter_N.caffemodel of one run
  build/certify_metrics/metrics-*.json    from which an interrupted run resumes

examples
  caffe-ext certify metrics --model prototxt/mnist_conv2.yaml \\
      --weights snapshots/mnist_sm_iter_*.caffemodel
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this method."""
    add_model_arguments(parser, several=True)
    add_image_arguments(parser, limit=100)
    add = parser.add_argument_group("metrics").add_argument
    add(
        "--epsilon",
        default="0.05of1",
        metavar="DISTANCE",
        help="Linf, in grey levels (12.75), or 0.05of1 (default: %(default)s)",
    )
    add(
        "--bounds",
        choices=METHODS,
        default="dual",
        help="method that bounds the logits (default: %(default)s)",
    )
    add_memory(add)
    add_output(parser.add_argument_group("output"), ROOT / "build" / "certify_metrics")
    add_again(parser, "discard earlier metrics in --output")


def check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """End the program with a sentence if the arguments are wrong."""
    check_at_least(parser, arguments, 1, "batch_size", "memory")
    (arguments.epsilon,) = read_distances(
        parser, "epsilon", [arguments.epsilon], small=True, linf=True
    )


def make_study(arguments: argparse.Namespace) -> "MetricsStudy":
    """Return what the arguments say is to be measured.

    Raises DataError, FileNotFoundError and ValueError, each with a sentence for the user.
    """
    from caffe_ext.certification.metrics_study import MetricsSettings, MetricsStudy
    from caffe_ext.models.description import collect_class_numbers

    models = find_loadable(arguments)
    settings = MetricsSettings(arguments.epsilon, arguments.bounds, arguments.memory << 20)
    return MetricsStudy(
        models,
        open_source(arguments, collect_class_numbers(models)),
        arguments.output,
        settings,
        **collect_study_options(arguments),
    )


def show(result: "MetricsResult", arguments: argparse.Namespace) -> None:
    """Print the table, and what it says."""
    from caffe_ext.attacks.budget import show_distance

    print(result.format_table())
    print(
        f"\n{len(result.labels):,} images; SENSE, ADV_LOSS and ADV_ERR within "
        f"{show_distance(arguments.epsilon)}, by the bounds `{arguments.bounds}`."
    )
    print(f"All images and the settings: {shorten_path(arguments.output)}")
